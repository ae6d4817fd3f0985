"""From settings to a finished run folder: for the command line and for Python.

Nothing is imported here: what only asks a device needs no torch, which takes seconds.
"""
