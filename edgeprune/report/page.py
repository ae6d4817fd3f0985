"""report.html: one page that opens without a network."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import UNPRUNED, RunReport, Training
from edgeprune.report.html import AFTER, BEFORE, LAYOUT, LIMIT, plot, rendered
from edgeprune.report.summary import (
    compared,
    models_of,
    on_device,
    rows_of,
    shown_by,
    timing_warnings,
)


def render_page(report: RunReport) -> str:
    """The page's HTML."""
    models = models_of(report)
    return rendered(
        "page.html.jinja",
        report=report,
        models=list(models),
        compared=compared(models),
        rows=rows_of(list(models.values()), report.metric),
        show=shown_by(report.metric),
        metric=report.metric,
        on_device=on_device(report),
        warnings=[*timing_warnings(report), *report.notes],
        trainings=[
            (item, manner(item, report.metric))
            for item in report.training
            if item.epochs
        ],
        accuracy_plot=plot(accuracy_figure(report)),
        layers_plot=plot(layers_figure(report)),
    )


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


def accuracy_figure(report: RunReport) -> go.Figure:
    """The metric against ms over the steps, with floor and budget."""
    steps, metric = report.steps, report.metric
    shown = metric.shown
    in_int8 = report.counted is report.int8
    before, after = (", in fp32", ", in int8") if in_int8 else ("", "")
    figure = go.Figure()
    figure.add_scatter(
        x=[step.latency_ms for step in steps],
        y=[shown(step.validation_accuracy) for step in steps],
        text=[step.name for step in steps],
        mode="lines+markers+text",
        textposition="top center",
        marker={"color": AFTER, "size": 10},
        name=f"{'after training' if report.training else 'the model'}{after}",
    )
    pruned = [step for step in steps if step.name not in UNPRUNED]
    figure.add_scatter(
        x=[step.latency_ms for step in pruned],
        y=[shown(step.accuracy_before_training) for step in pruned],
        mode="markers",
        marker={"color": BEFORE, "size": 9, "symbol": "x"},
        name=f"before training{before}",
    )
    times = {step.name: step.latency_ms for step in steps}
    if held := [item for item in report.reconstructions if item.purpose in times]:
        figure.add_scatter(
            x=[times[item.purpose] for item in held],
            y=[shown(item.accuracy_before) for item in held],
            mode="markers",
            marker={"color": BEFORE, "size": 9, "symbol": "circle-open"},
            name=f"before reconstruction{before}",
        )
    figure.add_hline(
        y=shown(report.accuracy_floor), line_dash="dot", annotation_text="floor"
    )
    limit_ms = report.budget.most_ms(report.baseline.latency_ms)
    if limit_ms is not None:
        dashed: dict[str, Any] = {"line_color": LIMIT, "line_dash": "dash"}
        figure.add_vline(x=limit_ms, annotation_text="budget", **dashed)
    figure.update_layout(
        xaxis_title="median latency, ms",
        yaxis_title=f"validation {metric.axis}",
        height=420,
        **LAYOUT,
    )
    return figure


def layers_figure(report: RunReport) -> go.Figure:
    """Milliseconds of each layer before and after."""
    figure = go.Figure()
    pairs = (("before", report.baseline, BEFORE), ("after", report.result, AFTER))
    for name, model, colour in pairs:
        figure.add_bar(
            x=[layer.name.removesuffix(".weight") for layer in model.layers],
            y=[layer.latency_ms for layer in model.layers],
            name=name,
            marker_color=colour,
        )
    figure.update_layout(
        barmode="group", yaxis_title="ms", xaxis_tickangle=-60, height=420, **LAYOUT
    )
    return figure
