"""Baseline against result, as rows that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import ModelFigures, RunReport
from edgeprune.units import megabytes, millions, milliseconds, percent

Value = float | None


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

    def change(self) -> str:
        """First against second: how many times smaller, or the difference in points."""
        before, after = self.values[0], self.values[1]
        if before is None or after is None:
            return ""
        if self.metric is not None:
            return self.metric.change(after - before)
        return f"{before / after:.2f}x" if after else ""


def shown_by(metric: Metric) -> Callable[[float], str]:
    """How values of a metric stand in a table."""
    return percent if metric.unit == "%" else metric.text


def rows_of(models: list[ModelFigures], metric: Metric = ACCURACY) -> list[Row]:
    """The figures that are compared, in the order in which they are read."""
    show = shown_by(metric)

    def take(pick: Callable[[ModelFigures], Value]) -> tuple[Value, ...]:
        return tuple(pick(model) for model in models)

    known = not any(model.is_estimate for model in models)
    latency = "latency" if known else "latency, estimated"
    return [
        Row(f"{latency}, median", take(lambda m: m.latency_ms), milliseconds),
        Row(f"{latency}, p90", take(lambda m: m.p90_ms), milliseconds),
        Row("MACs", take(lambda m: m.macs), millions),
        Row("parameters", take(lambda m: m.params), millions),
        Row("file", take(lambda m: m.size_bytes), megabytes),
        Row("memory to run", take(lambda m: m.memory.run_peak_bytes), megabytes),
        Row("peak memory", take(lambda m: m.memory.process_peak_bytes), megabytes),
        Row(
            "activations, counted",
            take(lambda m: m.memory.activation_peak_bytes),
            megabytes,
        ),
        Row(
            f"{metric.name}, validation",
            take(lambda m: m.validation_accuracy),
            show,
            metric,
        ),
        Row(f"{metric.name}, test", take(lambda m: m.test_accuracy), show, metric),
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
