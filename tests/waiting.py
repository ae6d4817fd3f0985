"""Waiting for another process, which ends with its test whatever happens."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress


def wait_for(holds, seconds=120):
    """Until something holds; fails where it does not. A busy machine takes long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def listens(port):
    """Whether a server on this machine takes connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def running(code, **options):
    """Python code in a process of its own, which is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", code], **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
