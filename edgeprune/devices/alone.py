"""Timing alone on a machine where runs of one sweep stand side by side.

Training may go on in several processes; a time that is taken beside them is not the
network's. Runs that share a folder take turns in timing, and whoever times stops the
others, which go on where they were.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

VARIABLE = "EDGEPRUNE_TIMED_ALONE"  # the folder that runs share
LOCK = "timing.lock"


@contextmanager
def alone() -> Iterator[None]:
    """Stop the other runs of a sweep as long as the block runs."""
    shared = os.environ.get(VARIABLE)
    if shared is None:
        yield
        return
    folder = Path(shared)
    with FileLock(folder / LOCK):
        others = groups_in(folder) - {os.getpgrp()}
        try:
            _signal(others, signal.SIGSTOP)
            yield
        finally:
            _signal(others, signal.SIGCONT)


@contextmanager
def beside(folder: Path, group: int) -> Iterator[None]:
    """Note a run's group of processes, which others may stop, and let it go on last.

    Whoever stopped it may have been killed.
    """
    note = folder / str(group)
    note.touch()
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        go_on(folder)


def go_on(folder: Path) -> None:
    """Let all runs go on, unless one of them is timing."""
    lock = FileLock(folder / LOCK)
    with suppress(TimeoutError), lock.acquire(timeout=0):
        let_all_go_on(folder)


def let_all_go_on(folder: Path) -> None:
    """Let all runs go on, whoever is timing."""
    _signal(groups_in(folder), signal.SIGCONT)


def groups_in(folder: Path) -> set[int]:
    """The groups of processes that are noted in a folder."""
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
