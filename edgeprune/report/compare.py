"""Two runs side by side, and whether they may be compared at all."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.records import RunReport
from edgeprune.report.summary import Row, rows_of

IGNORED_SETTINGS = {"out"}


@dataclass(frozen=True)
class Comparison:
    """Two results.

    Attributes:
        warnings: machines or settings that differ, so that figures may not compare.
        regression: by what share the second is slower, or by how much less accurate
            on the test split; the larger of the two, at least 0.
    """

    names: tuple[str, str]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    regression: float


def compare_reports(
    names: tuple[str, str], first: RunReport, second: RunReport
) -> Comparison:
    """The results of two runs, latest second."""
    before, after = first.counted, second.counted
    rows = rows_of([before, after])
    slower = after.latency_ms / before.latency_ms - 1
    accuracies = (before.test_accuracy, after.test_accuracy)
    worse = 0.0 if None in accuracies else (accuracies[0] or 0) - (accuracies[1] or 0)
    return Comparison(
        names=names,
        rows=tuple(rows),
        warnings=tuple(_unlike(first, second)),
        regression=max(0.0, slower, worse),
    )


def _unlike(first: RunReport, second: RunReport) -> list[str]:
    """List the differences in machine, runtime, data or settings."""
    pairs = [
        ("machine", first.machine.cpu, second.machine.cpu),
        ("cores", first.machine.cores, second.machine.cores),
        ("target", first.target, second.target),
        ("runtime", first.result.timing.runtime, second.result.timing.runtime),
        ("threads", first.result.timing.threads, second.result.timing.threads),
        ("provider", first.result.timing.provider, second.result.timing.provider),
        ("data", first.data, second.data),
    ]
    names = sorted((set(first.settings) | set(second.settings)) - IGNORED_SETTINGS)
    pairs += [
        (f"setting {name}", first.settings.get(name), second.settings.get(name))
        for name in names
    ]
    return [
        f"{name}: {one!s} against {two!s}" for name, one, two in pairs if one != two
    ]
