"""What a page holds for those who look things up, as rows of text."""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import UNPRUNED, RunReport, Training
from edgeprune.report.summary import shown_by
from edgeprune.units import millions, milliseconds, percent

Rows = list[list[str]]


def refused_rows(report: RunReport) -> Rows:
    """Channels that were left alone, and what that costs."""
    return [
        [
            group.name,
            str(group.channels),
            _told(group.latency_ms, "{:.3f}".format),
            group.reason,
        ]
        for group in report.refused
    ]


def steps_rows(report: RunReport) -> Rows:
    """The figures of the plot of the metric against time."""
    fitted = {item.purpose: item.accuracy_before for item in report.reconstructions}
    show = shown_by(report.metric)
    return [
        [
            step.name,
            milliseconds(step.latency_ms),
            _told(fitted.get(step.name), show),
            "-" if step.name in UNPRUNED else show(step.accuracy_before_training),
            show(step.validation_accuracy),
        ]
        for step in report.steps
    ]


def reconstruction_rows(report: RunReport) -> Rows:
    """The fitting of layers."""
    show = shown_by(report.metric)
    return [
        [
            item.purpose,
            str(item.layers),
            str(item.samples),
            f"{item.seconds:.0f}",
            show(item.accuracy_before),
            show(item.accuracy_after),
        ]
        for item in report.reconstructions
    ]


def training_rows(report: RunReport) -> Rows:
    """Trainings that had epochs."""
    show = shown_by(report.metric)
    return [
        [
            item.purpose,
            str(len(item.epochs)),
            str(item.best_epoch),
            show(item.accuracy_before),
            show(item.best_accuracy),
            f"{sum(epoch.seconds for epoch in item.epochs):.0f}",
            str(item.processes),
            f"{item.number_format}, {item.memory_format}",
            manner(item, report.metric),
        ]
        for item in report.training
        if item.epochs
    ]


def attempt_rows(report: RunReport) -> Rows:
    """Plans that were measured."""
    return [
        [
            str(item.round),
            _told(item.predicted_ms, milliseconds),
            milliseconds(item.latency_ms),
            millions(item.macs),
            millions(item.params),
            percent(item.kept_share),
            str(len(item.bypassed)),
            _told(item.gap, percent),
            _told(item.variance, "{:.4%}".format),
            _told(item.accuracy, shown_by(report.metric)),
            "yes" if item.within_budget else "no",
        ]
        for item in report.attempts
    ]


def parity_rows(report: RunReport) -> Rows:
    """Files beside the PyTorch model."""
    return [
        [
            item.file,
            str(item.samples),
            f"{item.largest_absolute:.2e}",
            f"{item.largest_relative:.2e}",
            *([percent(item.top1_agreement)] if report.data.classes else []),
        ]
        for item in report.parity
    ]


def manner(training: Training, metric: Metric = ACCURACY) -> str:
    """How a network was trained, in words."""
    said = ["distilled from the original" if training.distilled else "by labels"]
    if training.hints:
        said.append(f"feature maps of {', '.join(training.hints)}, too")
    said.append(f"steps by {training.optimizer}")
    if training.augmented:
        said.append(f"images changed by {', '.join(training.augmented)}")
    if training.average:
        said.append(
            f"weights averaged over the last {training.average:.0%} of the steps"
        )
    head = training.second_head
    if head is not None and head.accuracy_without is not None:
        kept = "kept" if head.kept else "not kept"
        said.append(
            f"second head of weight {head.weight:g}: "
            f"{metric.text(training.best_accuracy)}, "
            f"{metric.text(head.accuracy_without)} without it; {kept}"
        )
    return "; ".join(said)


def _told(value: float | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else show(value)
