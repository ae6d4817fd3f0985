"""Results side by side, and whether they may be compared at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import (
    DataFacts,
    FileTiming,
    Measurements,
    ModelFigures,
    PairedTiming,
    RunReport,
    Timing,
    TimingSummary,
)
from edgeprune.report.summary import (
    FILE,
    LATENCY,
    MEMORY,
    P90,
    TEST,
    VALIDATION,
    Row,
    Value,
    figures_of,
    rows_from,
    shown_by,
    with_estimates,
)
from edgeprune.units import megabytes, milliseconds

IGNORED_SETTINGS = {"out"}
TIME = "time"
TIMED_BY = ("target", "machine", "cores", "runtime", "threads", "provider", TIME)
JUDGED_BY = ("metric", "data")
MEASURED, ESTIMATED = "measured", "estimated"
DIGITS = 6  # of a file's hash: tell it from others of its name
REMEASURE = "--remeasure times all of them here"
GROWS = {FILE: "its file is larger", MEMORY: "its activations take more memory"}


@dataclass(frozen=True)
class Compared:
    """One result.

    Attributes:
        figures: by what they are called in tables; None where they are not known.
        facts: what makes a result unlike others, by name.
        metric: that it is judged by; None of a file that was timed alone.
        timing: every sample; None where they were not told, or nobody took them.
        ratio: its time as a share of the first one's, where both were timed in turn.
    """

    name: str
    figures: Mapping[str, Value]
    facts: Mapping[str, str]
    metric: Metric | None = None
    timing: Timing | None = None
    ratio: float | None = None

    def timed_anew(self, found: FileTiming, target: str) -> Compared:
        """The same with the time of another measurement, in turn with the first."""
        timed = {LATENCY: found.median_ms, P90: _p90(found)}
        return replace(
            self,
            figures={**self.figures, **timed},
            facts={**self.facts, **_timed_by(found.timing, target)},
            timing=found.timing,
            ratio=found.ratio,
        )


@dataclass(frozen=True)
class Comparison:
    """Results, the first of which the others are compared with.

    Attributes:
        warnings: what is unlike, so that figures may not compare.
        metric: that the first is judged by; of others there are rows of their own.
        notes: what else makes figures of little use, or is left out.
    """

    items: tuple[Compared, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    metric: Metric = ACCURACY
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What the results are called."""
        return tuple(item.name for item in self.items)

    def regressions(self, allowed: float) -> tuple[str, ...]:
        """Say what got worse by more than a share, or what cannot be told.

        Args:
            allowed: of time, file and memory, and of the metric on its scale, 0..1 of
                shares.
        """
        first, *others = self.items
        return tuple(
            sentence
            for item in others
            for sentence in (
                *self._slower(first, item, allowed),
                *self._less_accurate(first, item, allowed),
                *_larger(first, item, allowed),
            )
        )

    def _slower(self, first: Compared, item: Compared, allowed: float) -> list[str]:
        if unlike := _unlike(first, item, TIMED_BY):
            told = f"the times of {first.name} and {item.name} do not compare"
            return [f"{told} ({unlike[0]}): {REMEASURE}"]
        if untold := _untold(first, item):
            return [f"{untold[0]}: {REMEASURE}"]
        before, after = (one.figures.get(LATENCY) or math.nan for one in (first, item))
        if not (math.isfinite(before) and math.isfinite(after) and before > 0 < after):
            return [f"the times of {first.name} and {item.name} are no times"]
        slower = (item.ratio or after / before) - 1
        if slower <= allowed:
            return []
        times = f"{milliseconds(before)} -> {milliseconds(after)}"
        told = f"{item.name} is slower by {slower:.1%} ({times})"
        return [f"{told}, {allowed:.4g} is allowed"]

    def _less_accurate(
        self, first: Compared, item: Compared, allowed: float
    ) -> list[str]:
        before, after = (one.figures.get(TEST) for one in (first, item))
        if None in (first.metric, item.metric) or (before is None and after is None):
            return []
        lacking = first.name if before is None else item.name
        if before is None or after is None:
            return [f"{lacking} has no test {self.metric.name} to compare"]
        if unlike := _unlike(first, item, JUDGED_BY):
            told = f"the test {self.metric.name} of {first.name} and {item.name}"
            return [f"{told} do not compare ({unlike[0]})"]
        if before - after <= allowed:
            return []
        metric, show = self.metric, shown_by(self.metric)
        worse = f"{metric.points * (before - after):.2f} {metric.word}".rstrip()
        return [
            f"{lacking}: test {metric.name} is worse by {worse} ({show(before)} -> "
            f"{show(after)}), {metric.points * allowed:.4g} are allowed"
        ]


def compared(items: Sequence[Compared]) -> Comparison:
    """Results, the first of which the others are compared with."""
    first, *others = items
    metrics = [*dict.fromkeys(item.metric for item in items if item.metric)]
    metrics = metrics or [ACCURACY]
    warnings = [
        sentence
        for item in others
        for sentence in _unlike(first, item, sorted(set(first.facts) | set(item.facts)))
    ]
    notes = [
        sentence
        for item in others
        for sentence in (*_untold(first, item), *_left_out(first, item))
    ]
    notes += [sentence for item in items for sentence in _doubts(item)]
    rows = [
        row
        for metric in metrics
        for row in rows_from([_judged_by(metric, item) for item in items], metric)
        if row.metric is not None or metric is metrics[0]
    ]
    known = [row for row in rows if any(value is not None for value in row.values)]
    if any(item.facts.get(TIME) == ESTIMATED for item in items):
        known = with_estimates(known)
    return Comparison(
        items=tuple(items),
        rows=tuple(known),
        warnings=tuple(dict.fromkeys(warnings)),
        metric=metrics[0],
        notes=tuple(dict.fromkeys(notes)),
    )


def _judged_by(metric: Metric, item: Compared) -> Mapping[str, Value]:
    """The figures of a result, without those of another metric."""
    if item.metric in (metric, None):
        return item.figures
    return {
        name: value
        for name, value in item.figures.items()
        if name not in (VALIDATION, TEST)
    }


def of_run(name: str, report: RunReport) -> Compared:
    """The file of a run that counts."""
    figures = _counted(report)
    facts = {
        "network": f"{report.baseline.macs:,} MACs and {report.baseline.params:,} "
        "parameters",
        "metric": report.metric.name,
        "data": _data(report.data),
        **_timed_by(figures.timing, report.target),
    }
    settings = {
        f"setting {key}": _said(value)
        for key, value in report.settings.items()
        if key not in IGNORED_SETTINGS
    }
    timing = None if figures.is_estimate else figures.timing
    return Compared(name, figures_of(figures), facts | settings, report.metric, timing)


def of_measurements(name: str, found: Measurements) -> list[Compared]:
    """Files that were timed alone."""
    files = [item.file for item in found.files]
    return [
        of_file(_told_apart(item, files, name), item, found.target)
        for item in found.files
    ]


def _told_apart(item: FileTiming, files: Sequence[str], name: str) -> str:
    """What a file is called beside the others of a measurement."""
    if len(files) == 1:
        return name
    if files.count(item.file) == 1 or item.sha256 is None:
        return item.file
    return f"{item.file} ({item.sha256[:DIGITS]})"


def of_file(name: str, item: FileTiming, target: str) -> Compared:
    """A file that was timed alone."""
    figures = {LATENCY: item.median_ms, P90: _p90(item), FILE: item.size_bytes}
    return Compared(name, figures, _timed_by(item.timing, target), None, item.timing)


def _p90(item: FileTiming) -> float | None:
    return None if item.summary is None else item.summary.p90_ms


def _counted(report: RunReport) -> ModelFigures:
    """The file that counts, its time by the rounds that the report holds."""
    figures, reference_ms = report.counted, report.counted.reference_ms
    pair = PairedTiming(figures.timing, report.baseline.timing)
    in_turn = len(pair.timing.rounds_ms) == len(pair.baseline.rounds_ms)
    if reference_ms is None or not in_turn:
        return figures
    return figures.measured(pair, reference_ms)


def _timed_by(timing: Timing | None, target: str) -> dict[str, str]:
    """What a time depends on beside the file."""
    if timing is None:
        return {"target": target}
    return {
        "target": target,
        "machine": _said(timing.machine.cpu),
        "cores": _said(timing.machine.cores),
        "runtime": timing.runtime,
        "threads": _said(timing.threads),
        "provider": timing.provider,
        TIME: ESTIMATED if timing.is_estimate else MEASURED,
    }


def _unlike(first: Compared, item: Compared, names: Sequence[str]) -> list[str]:
    """The differences of two results in what they have both, or settings alone."""
    pairs = [
        (name, first.facts.get(name), item.facts.get(name))
        for name in names
        if (name in first.facts and name in item.facts)
        or (name.startswith("setting ") and None not in (first.metric, item.metric))
    ]
    return [
        f"{name}: {_said(before)} against {_said(after)}"
        for name, before, after in pairs
        if before != after
    ]


def _untold(first: Compared, item: Compared) -> list[str]:
    """Times of which nobody knows where they were taken."""
    return [
        f"on what machine, and how, {one.name} was timed is not known"
        for one in (first, item)
        if "machine" not in one.facts
    ]


def _left_out(first: Compared, item: Compared) -> list[str]:
    """What is not compared, since one of both has no figure of it."""
    told: list[str] = []
    for one, other in ((first, item), (item, first)):
        if one.metric is None and other.metric is not None:
            told.append(f"{one.name} is a file alone: its time and size are compared")
        elif one.figures.get(MEMORY) is None and other.figures.get(MEMORY):
            told.append(f"the activations of {one.name} cannot be counted")
    return told


def _doubts(item: Compared) -> list[str]:
    """What a time says of itself that makes it of little use for comparisons."""
    if item.facts.get(TIME) == ESTIMATED:
        return [f"the time of {item.name} is an estimate"]
    warnings = () if item.timing is None else TimingSummary.of(item.timing).warnings
    return [f"timing of {item.name}: {warning}" for warning in warnings]


def _larger(first: Compared, item: Compared, allowed: float) -> list[str]:
    """What takes more room."""
    found: list[str] = []
    for label, words in GROWS.items():
        before, after = first.figures.get(label), item.figures.get(label)
        if before and after and after / before - 1 > allowed:
            sizes = f"{megabytes(before)} -> {megabytes(after)}"
            told = f"{item.name}: {words} by {after / before - 1:.1%} ({sizes})"
            found.append(f"{told}, {allowed:.4g} is allowed")
    return found


def _data(data: DataFacts) -> str:
    counts = f"{data.train} + {data.validation} + {data.test} samples"
    shape = "x".join(map(str, data.sample_shape))
    classes = f", {data.classes} classes" if data.classes else ""
    found = f"{data.name} ({counts} of {shape}{classes})"
    return f"{found}, {data.preprocessing}" if data.preprocessing else found


def _said(value: object) -> str:
    return "none" if value is None else str(value)
