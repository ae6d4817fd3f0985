"""Shows where a run is: bars for people, plain lines for logs, JSON for machines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from edgeprune.report.clock import RunClock

PLAIN_EVERY_S, JSON_EVERY_S = 10.0, 1.0
FEWEST_STEPS, KNOWN_SHARE = 3, 0.2  # that must be done before the rest is estimated
RUN = "the whole run"


class LiveProgress:
    """A bar for the run and one for its current step; a line for each step done.

    Args:
        clock: of the run; None where there is one step only.
    """

    def __init__(self, console: Console, clock: RunClock | None = None) -> None:
        self._console, self._clock = console, clock
        self._bars: Progress | None = None
        self._run, self._task = TaskID(0), TaskID(0)
        self._step, self._began = "", 0.0

    def start(self, step: str, total: int) -> None:
        """Show a bar."""
        bars = self._bars or self._opened()
        if self._step:
            bars.remove_task(self._task)
        self._step, self._began = step, time.perf_counter()
        if self._clock is not None:
            self._clock.begin(step)
        self._task = bars.add_task(step, total=total, count=f"0/{total}", detail="")
        self._move_run()

    def advance(self, detail: str = "") -> None:
        """Move the bar."""
        if self._bars is None or not self._step:
            return
        task = next(item for item in self._bars.tasks if item.id == self._task)
        done, total = int(task.completed) + 1, int(task.total or 0)
        left = _left(done, total, time.perf_counter() - self._began)
        self._bars.update(
            self._task, advance=1, count=f"{done}/{total}", left=left, detail=detail
        )
        self._move_run()

    def finish(self, outcome: str = "") -> None:
        """Replace the bar by a line."""
        if self._bars is not None and self._step:
            self._bars.remove_task(self._task)
            self._move_run()
        self._console.print(_done(self._step, outcome, self._began), highlight=False)
        self._step = ""

    def stop(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._step = ""

    def _opened(self) -> Progress:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            _Left(self._clock),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            transient=True,
        )
        if self._clock is not None:
            self._run = self._bars.add_task(RUN, total=None, count="", detail="")
        self._bars.start()
        return self._bars

    def _move_run(self) -> None:
        """Set the run's bar; it has no end while nobody knows when that is."""
        if self._clock is None or self._bars is None:
            return
        left, spent = self._clock.left, self._clock.elapsed
        total = None if left is None else spent + left
        self._bars.update(self._run, total=total, completed=spent)


class _Left(ProgressColumn):
    """What is left of the run, in its row, or of the step."""

    def __init__(self, clock: RunClock | None) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        """Read the clock anew each time it is drawn."""
        if task.description == RUN and self._clock is not None:
            return Text(self._clock.text)
        return Text(task.fields.get("left", ""))


class PlainProgress:
    """Plain lines, for logs: one at each end of a step and now and then between."""

    def __init__(self, console: Console, clock: RunClock | None = None) -> None:
        self._console, self._clock = console, clock
        self._step, self._total, self._done = "", 0, 0
        self._began = self._said = 0.0

    def start(self, step: str, total: int) -> None:
        """Say what begins."""
        self._step, self._total, self._done = step, total, 0
        self._began = self._said = time.perf_counter()
        left = ""
        if self._clock is not None:
            self._clock.begin(step)
            left = self._clock.text
        self._say(f"{step} ... ({left})" if left else f"{step} ...")

    def advance(self, detail: str = "") -> None:
        """Say now and then how far it is and how long it has to go."""
        self._done += 1
        now = time.perf_counter()
        if now - self._said < PLAIN_EVERY_S or self._done >= self._total:
            return
        self._said = now
        left = _left(self._done, self._total, now - self._began)
        said = [f"{self._step} {self._done}/{self._total}", left, detail]
        self._say(", ".join(part for part in said if part))

    def finish(self, outcome: str = "") -> None:
        """Say what was found."""
        self._say(_done(self._step, outcome, self._began))

    def stop(self) -> None:
        """Nothing is shown that could be taken away."""

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class JsonLines:
    """One JSON object a line for each event of a run.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], object], clock: RunClock) -> None:
        self._write, self._clock = write, clock
        self._step, self._total, self._done = "", 0, 0
        self._began = self._said = 0.0

    def start(self, step: str, total: int) -> None:
        """A step begins, with so many parts."""
        self._clock.begin(step)
        self._step, self._total, self._done = step, total, 0
        self._began = self._said = time.perf_counter()
        self._say("start", parts=total)

    def advance(self, detail: str = "") -> None:
        """Say how many parts are done, no more than once in a second."""
        self._done += 1
        now = time.perf_counter()
        if now - self._said >= JSON_EVERY_S:
            self._said = now
            self._say("advance", done=self._done, parts=self._total, detail=detail)

    def finish(self, outcome: str = "") -> None:
        """Say what a step has found, and how long it took."""
        seconds = round(time.perf_counter() - self._began, 1)
        self._say("finish", outcome=outcome, seconds=seconds)

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """Say them, such as those of an epoch."""
        known = {
            name: value if math.isfinite(value) else None
            for name, value in values.items()
        }
        self._say("figures", number=number, **known)

    def stop(self) -> None:
        """Nothing is shown that could be taken away."""

    def _say(self, event: str, **facts: object) -> None:
        left = self._clock.left
        times = {
            "elapsed_s": round(self._clock.elapsed, 1),
            "left_s": None if left is None else round(left, 1),
        }
        self._write(json.dumps({"event": event, "step": self._step, **facts, **times}))


def end_line(status: str, message: str, **facts: object) -> str:
    """The last of the JSON lines: what came of a run, or why nothing did."""
    return json.dumps({"event": "end", "status": status, "message": message, **facts})


def _left(done: int, total: int, seconds: float) -> str:
    """Say how long the rest takes; nothing while that is anybody's guess.

    First steps load, compile and fill caches: they say nothing of those that follow.
    """
    if done < max(FEWEST_STEPS, KNOWN_SHARE * total):
        return ""
    return f"{seconds / done * max(total - done, 0):.0f} s left"


def _done(step: str, outcome: str, began: float) -> str:
    spent = time.perf_counter() - began
    return (
        f"{step}: {outcome} ({spent:.1f} s)" if outcome else f"{step} ({spent:.1f} s)"
    )
