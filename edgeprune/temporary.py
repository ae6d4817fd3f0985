"""Temporary files that are gone when this process is, however it ends.

A small helper process reads a pipe. When its other end closes, since this process has
ended or was killed, the helper removes what is still registered, and says what was in
work. A signal that nobody can catch, as the out-of-memory killer's or a crash, leaves
nothing behind this way.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HELPER = """
import json, os, shutil, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
held = {}
for line in sys.stdin.buffer:
    number, paths, words = json.loads(line)
    if paths or words:
        held[number] = paths, words
    else:
        held.pop(number, None)
for paths, words in reversed(list(held.values())):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        try:
            os.unlink(path)
        except OSError:
            pass
    if words:
        print(words, file=sys.stderr)
"""
END_S = 5  # until a helper that has nothing to do must have ended


@contextmanager
def temporary_folder(path: Path | None = None) -> Iterator[Path]:
    """Make a folder for as long as the block runs, or the process.

    Args:
        path: where, with the permissions that folders have; None makes a private one
            among the system's temporary files.

    Raises:
        OSError: it cannot be made.
    """
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="edgeprune-"))
    else:
        path.mkdir()
    with temporary(path):
        yield path


@contextmanager
def temporary(*paths: Path) -> Iterator[None]:
    """Remove paths, if they are there, when the block ends or the process."""
    number = _HELPER.register(paths)
    try:
        yield
    finally:
        for path in paths:
            _remove(path)
        _HELPER.forget(number)


@contextmanager
def removed_if_killed(*paths: Path) -> Iterator[None]:
    """Remove paths only where the process is killed, or the block fails."""
    number = _HELPER.register(paths)
    try:
        yield
    except BaseException:
        for path in paths:
            _remove(path)
        raise
    finally:
        _HELPER.forget(number)


@contextmanager
def last_words(sentence: str) -> Iterator[None]:
    """Let a sentence be printed where the process is killed or crashes inside."""
    number = _HELPER.register((), sentence)
    try:
        yield
    finally:
        _HELPER.forget(number)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


class _Helper:
    """The helper process, started when the first path is registered."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._count = 0

    def register(self, paths: Sequence[Path], words: str = "") -> int:
        if self._owner != os.getpid():  # the first time, or a fork
            self._start()
        self._count += 1
        self._tell([self._count, [str(path.absolute()) for path in paths], words])
        return self._count

    def forget(self, number: int) -> None:
        self._tell([number, [], ""])

    def _start(self) -> None:
        self._owner, self._process = os.getpid(), None
        with suppress(OSError):  # no process can be started: ordinary clean-up remains
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", HELPER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                start_new_session=True,  # what kills this one's group spares it
            )
            atexit.register(self._end)

    def _tell(self, message: list[object]) -> None:
        if self._process is None or self._owner != os.getpid():
            return
        assert self._process.stdin is not None  # piped above
        with suppress(OSError, ValueError):  # it was killed, or this process ends
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _end(self) -> None:
        if self._process is None or self._owner != os.getpid():
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=END_S)


_HELPER = _Helper()
