"""Devices: how jobs get there, what runs there, and what comes back.

`transports/` are the ways, `worker.py` runs on a board and `browser/` on a phone;
`runner.py` asks for measurements and returns records.
"""
