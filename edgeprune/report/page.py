"""report.html: one page that opens without a network."""

from __future__ import annotations

import plotly.graph_objects as go

from edgeprune.records import UNPRUNED, RunReport, Training
from edgeprune.report.html import AFTER, BEFORE, LAYOUT, LIMIT, plot, rendered
from edgeprune.report.summary import (
    compared,
    models_of,
    on_device,
    rows_of,
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
        rows=rows_of(list(models.values())),
        on_device=on_device(report),
        warnings=[*timing_warnings(report), *report.notes],
        trainings=[(item, manner(item)) for item in report.training if item.epochs],
        accuracy_plot=plot(accuracy_figure(report)),
        layers_plot=plot(layers_figure(report)),
    )


def manner(training: Training) -> str:
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
            f"second head of weight {head.weight:g}: {training.best_accuracy:.2%}, "
            f"{head.accuracy_without:.2%} without it; {kept}"
        )
    return "; ".join(said)


def accuracy_figure(report: RunReport) -> go.Figure:
    """Validation accuracy against ms over the steps, with floor and budget."""
    steps = report.steps
    in_int8 = report.counted is report.int8
    before, after = (", in fp32", ", in int8") if in_int8 else ("", "")
    figure = go.Figure()
    figure.add_scatter(
        x=[step.latency_ms for step in steps],
        y=[step.validation_accuracy * 100 for step in steps],
        text=[step.name for step in steps],
        mode="lines+markers+text",
        textposition="top center",
        marker={"color": AFTER, "size": 10},
        name=f"{'after training' if report.training else 'the model'}{after}",
    )
    pruned = [step for step in steps if step.name not in UNPRUNED]
    figure.add_scatter(
        x=[step.latency_ms for step in pruned],
        y=[step.accuracy_before_training * 100 for step in pruned],
        mode="markers",
        marker={"color": BEFORE, "size": 9, "symbol": "x"},
        name=f"before training{before}",
    )
    times = {step.name: step.latency_ms for step in steps}
    if held := [item for item in report.reconstructions if item.purpose in times]:
        figure.add_scatter(
            x=[times[item.purpose] for item in held],
            y=[item.accuracy_before * 100 for item in held],
            mode="markers",
            marker={"color": BEFORE, "size": 9, "symbol": "circle-open"},
            name=f"before reconstruction{before}",
        )
    figure.add_hline(
        y=report.accuracy_floor * 100, line_dash="dot", annotation_text="accuracy floor"
    )
    limit_ms = report.budget.most_ms(report.baseline.latency_ms)
    if limit_ms is not None:
        figure.add_vline(
            x=limit_ms,
            line_color=LIMIT,
            line_dash="dash",
            annotation_text="budget",
        )
    figure.update_layout(
        xaxis_title="median latency, ms",
        yaxis_title="validation accuracy, %",
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
