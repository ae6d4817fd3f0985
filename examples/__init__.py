"""Small programs that show one thing each; `python -m examples.NAME` runs one."""
