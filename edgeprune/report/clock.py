"""How much of a run is left, by what such a run took before on this machine."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgeprune.files import cache_folder, write_cache
from edgeprune.records.json import from_json, to_json

MINUTES = 100.0  # seconds, from which on it is said in minutes
ROUNDED = 5  # seconds


@dataclass(frozen=True)
class StepTime:
    """A step of a run, and the seconds until the next one began."""

    step: str
    seconds: float


class RunClock:
    """How long a run has gone on and, where one such ended before, how long it will.

    Args:
        facts: what runs have in common that take about as long.
    """

    def __init__(self, facts: str) -> None:
        key = hashlib.sha256(facts.encode()).hexdigest()[:16]
        self._path = cache_folder() / "durations" / f"{key}.json"
        self._before = _read(self._path)
        self._at = 0  # of the steps before: where this run is
        self._taken: list[StepTime] = []
        self._step, self._began = "", time.perf_counter()
        self._start = self._began

    @property
    def elapsed(self) -> float:
        """Seconds from its beginning."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float | None:
        """Seconds to its end, about; None while nobody knows."""
        here, *later = self._before[self._at :] or [StepTime("", 0.0)]
        rest = sum(item.seconds for item in later)
        if here.step == self._step:
            rest += max(0.0, here.seconds - (time.perf_counter() - self._began))
        return rest or None

    @property
    def text(self) -> str:
        """What is left, in words; nothing while nobody knows."""
        left = self.left
        if left is None:
            return ""
        if left >= MINUTES:
            return f"about {left / 60:.0f} min left of the run"
        seconds = max(ROUNDED, ROUNDED * round(left / ROUNDED))
        return f"about {seconds} s left of the run"

    def begin(self, step: str) -> None:
        """Another step begins."""
        self._close()
        self._step = step
        ahead = [item.step for item in self._before[self._at + 1 :]]
        if step in ahead:
            self._at += 1 + ahead.index(step)

    def end(self) -> None:
        """The run has come to its end: the next one of its kind goes by it."""
        self._close()
        write_cache(self._path, to_json(tuple(self._taken), indent=None))

    def _close(self) -> None:
        now = time.perf_counter()
        self._taken.append(StepTime(self._step, now - self._began))
        self._began = now


def _read(path: Path) -> tuple[StepTime, ...]:
    with suppress(OSError, ValidationError):
        return from_json(tuple[StepTime, ...], path.read_bytes())
    return ()
