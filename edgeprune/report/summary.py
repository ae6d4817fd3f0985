"""Baseline against result, as rows that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import ModelFigures, RunReport
from edgeprune.units import megabytes, millions, milliseconds, percent

Value = float | None
LATENCY, P90 = "latency, median", "latency, p90"
FILE, MEMORY = "file", "activations, counted"
VALIDATION, TEST = "validation", "test"  # of whatever the metric is
FIGURES = (
    *(LATENCY, P90, "MACs", "parameters", FILE),
    *("memory to run", "peak memory", MEMORY, VALIDATION, TEST),
)


@dataclass(frozen=True)
class Row:
    """One figure of several models.

    Attributes:
        metric: that it is a value of; None where smaller is better, and what counts
            is how many times.
    """

    label: str
    values: tuple[Value, ...]
    show: Callable[[float], str]
    metric: Metric | None = None

    def text(self, index: int) -> str:
        """One value, or a dash where there is none."""
        value = self.values[index]
        return "-" if value is None else self.show(value)

    def change(self, index: int = 1) -> str:
        """First against another: how many times smaller, or what it differs by."""
        before, after = self.values[0], self.values[index]
        if before is None or after is None:
            return ""
        if self.metric is not None:
            return self.metric.change(after - before)
        return f"{before / after:.2f}x" if after else ""


def shown_by(metric: Metric) -> Callable[[float], str]:
    """How values of a metric stand in a table."""
    if metric.unit != "%":
        return metric.text
    return lambda value: percent(metric.shown(value) / 100)


def rows_of(models: list[ModelFigures], metric: Metric = ACCURACY) -> list[Row]:
    """The figures that are compared, in the order in which they are read."""
    rows = rows_from([figures_of(model) for model in models], metric)
    return with_estimates(rows) if any(model.is_estimate for model in models) else rows


def with_estimates(rows: Sequence[Row]) -> list[Row]:
    """The same rows, whose times are not all measured."""
    estimated = "latency, estimated"
    return [replace(row, label=row.label.replace("latency", estimated)) for row in rows]


def figures_of(model: ModelFigures) -> dict[str, Value]:
    """The figures of one model, by what they are called."""
    return {
        LATENCY: model.latency_ms,
        P90: model.p90_ms,
        "MACs": model.macs,
        "parameters": model.params,
        FILE: model.size_bytes,
        "memory to run": model.memory.run_peak_bytes,
        "peak memory": model.memory.process_peak_bytes,
        MEMORY: model.memory.activation_peak_bytes,
        VALIDATION: model.validation_accuracy,
        TEST: model.test_accuracy,
    }


def rows_from(
    figures: Sequence[Mapping[str, Value]], metric: Metric = ACCURACY
) -> list[Row]:
    """Rows of figures by their names; of some results not all are known."""
    splits = {TEST: "test", VALIDATION: "validation"}
    shown = {"MACs": millions, "parameters": millions}
    shown |= {LATENCY: milliseconds, P90: milliseconds}
    return [
        Row(
            f"{metric.name}, {splits[name]}" if name in splits else name,
            tuple(item.get(name) for item in figures),
            shown_by(metric) if name in splits else shown.get(name, megabytes),
            metric if name in splits else None,
        )
        for name in FIGURES
    ]


def models_of(report: RunReport) -> dict[str, ModelFigures]:
    """The models of a run by what they are called in tables.

    The baseline first, then what it is compared with: the file that counts.
    """
    named = {"result": report.result}
    if report.int8 is not None:
        named["result, int8"] = report.int8
    names = sorted(named, key=lambda name: named[name] is not report.counted)
    return {"baseline": report.baseline, **{name: named[name] for name in names}}


def compared(models: Mapping[str, ModelFigures]) -> str:
    """Name the comparison that the column of changes shows."""
    return " / ".join([*models][:2])


def on_device(report: RunReport) -> list[str]:
    """What the device itself said: its answers, and its times once it is warm."""
    found = [
        f"{item.file} on the device: the same top-1 answer as here for "
        f"{item.top1_agreement:.0%} of {item.samples} samples, largest difference "
        f"{item.largest_relative:.1e} of the largest output"
        for item in report.on_device
    ]
    if report.sustained is not None:
        found.append(f"sustained: {report.sustained.text}")
    return found


def timing_warnings(report: RunReport) -> list[str]:
    """Timings that say of themselves that they are useless for comparisons."""
    return [
        f"timing of {name}: {warning}"
        for name, model in models_of(report).items()
        for warning in model.summary.warnings
    ]
