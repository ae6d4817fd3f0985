"""Two runs side by side, and whether they may be compared at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import DataFacts, ModelFigures, PairedTiming, RunReport
from edgeprune.report.summary import Row, rows_of, shown_by
from edgeprune.units import milliseconds

IGNORED_SETTINGS = {"out"}


@dataclass(frozen=True)
class Comparison:
    """Two results.

    Attributes:
        warnings: machines, networks, data or settings that differ, so that figures may
            not compare.
        latencies: in milliseconds.
        accuracies: on the test split; None where there is none.
        metric: what they are.
    """

    names: tuple[str, str]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    latencies: tuple[float, float]
    accuracies: tuple[float | None, float | None]
    metric: Metric = ACCURACY

    def regressions(self, allowed: float) -> tuple[str, ...]:
        """Say what got worse by more than a share, or what cannot be told.

        Args:
            allowed: of the time, and of the metric on its scale, 0..1 of shares.
        """
        return (*self._slower(allowed), *self._less_accurate(allowed))

    def _slower(self, allowed: float) -> list[str]:
        (before, after), name = self.latencies, self.names[1]
        if not (math.isfinite(before) and math.isfinite(after) and before > 0 < after):
            return [f"the times of {self.names[0]} and {name} are no times"]
        slower = after / before - 1
        if slower <= allowed:
            return []
        times = f"{milliseconds(before)} -> {milliseconds(after)}"
        return [f"{name} is slower by {slower:.1%} ({times}), {allowed:.4g} is allowed"]

    def _less_accurate(self, allowed: float) -> list[str]:
        before, after = self.accuracies
        if before is None and after is None:
            return []
        lacking = self.names[0] if before is None else self.names[1]
        if before is None or after is None:
            return [f"{lacking} has no test {self.metric.name} to compare"]
        if before - after <= allowed:
            return []
        metric, show = self.metric, shown_by(self.metric)
        worse = f"{metric.points * (before - after):.2f} {metric.word}".rstrip()
        return [
            f"{lacking}: test {metric.name} is worse by {worse} ({show(before)} -> "
            f"{show(after)}), {metric.points * allowed:.4g} are allowed"
        ]


def compare_reports(
    names: tuple[str, str], first: RunReport, second: RunReport
) -> Comparison:
    """The results of two runs, latest second."""
    before, after = _counted(first), _counted(second)
    return Comparison(
        names=names,
        rows=tuple(rows_of([before, after], first.metric)),
        warnings=tuple(_unlike(first, second)),
        latencies=(before.latency_ms, after.latency_ms),
        accuracies=(before.test_accuracy, after.test_accuracy),
        metric=first.metric,
    )


def _counted(report: RunReport) -> ModelFigures:
    """The file that counts, its time by the rounds that the report holds."""
    figures, reference_ms = report.counted, report.counted.reference_ms
    pair = PairedTiming(figures.timing, report.baseline.timing)
    in_turn = len(pair.timing.rounds_ms) == len(pair.baseline.rounds_ms)
    if reference_ms is None or not in_turn:
        return figures
    return figures.measured(pair, reference_ms)


def _unlike(first: RunReport, second: RunReport) -> list[str]:
    """List the differences in network, machine, runtime, data or settings."""
    one, two = first.counted.timing, second.counted.timing
    pairs: list[tuple[str, object, object]] = [
        ("network", _network(first), _network(second)),
        ("machine", first.machine.cpu, second.machine.cpu),
        ("cores", first.machine.cores, second.machine.cores),
        ("target", first.target, second.target),
        ("runtime", one.runtime, two.runtime),
        ("threads", one.threads, two.threads),
        ("provider", one.provider, two.provider),
        ("metric", first.metric.name, second.metric.name),
        ("data", _data(first.data), _data(second.data)),
    ]
    names = sorted((set(first.settings) | set(second.settings)) - IGNORED_SETTINGS)
    pairs += [
        (f"setting {name}", first.settings.get(name), second.settings.get(name))
        for name in names
    ]
    return [
        f"{name}: {_said(before)} against {_said(after)}"
        for name, before, after in pairs
        if before != after
    ]


def _network(report: RunReport) -> str:
    return f"{report.baseline.macs:,} MACs and {report.baseline.params:,} parameters"


def _data(data: DataFacts) -> str:
    counts = f"{data.train} + {data.validation} + {data.test} samples"
    shape = "x".join(map(str, data.sample_shape))
    classes = f", {data.classes} classes" if data.classes else ""
    found = f"{data.name} ({counts} of {shape}{classes})"
    return f"{found}, {data.preprocessing}" if data.preprocessing else found


def _said(value: object) -> str:
    return "none" if value is None else str(value)
