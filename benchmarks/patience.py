"""A limit of time for what others' code does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTimeError(Exception):
    """It did not end in time."""


@contextmanager
def patience(seconds: int) -> Iterator[None]:
    """End what takes longer.

    Raises:
        OutOfTimeError: it does.
    """

    def end(*_: object) -> None:
        raise OutOfTimeError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
