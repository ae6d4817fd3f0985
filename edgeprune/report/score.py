"""Shows the findings of `edgeprune score`: a table, a page of curves, and JSON."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich.console import Console
from rich.table import Table

from edgeprune.files import write_whole
from edgeprune.records import GroupLoss, Rescored, ScoreReport, to_json
from edgeprune.report.html import AFTER, BEFORE, LAYOUT, plot, rendered

PAGE, DATA = "score.html", "score.json"
HEIGHT = 460


def write_scores(report: ScoreReport, folder: Path) -> None:
    """Write score.html and score.json."""
    write_whole(folder / PAGE, render_scores(report))
    write_whole(folder / DATA, to_json(report))


def show_scores(console: Console, report: ScoreReport) -> None:
    """The table of groups, the blocks, and what else is worth a line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles_of(report)):
        justify = "right" if index else "left"
        table.add_column(title, justify=justify, no_wrap=not index)
    for row in rows_of(report):
        table.add_row(*row)
    console.print(table)
    for block in report.blocks:
        loss = "" if block.loss is None else f", loss {block.loss:.3f} without it"
        score = "" if block.score is None else f", score {block.score:.3g}"
        console.print(f"block {block.name}{loss}{score}", highlight=False, markup=False)
    for note in notes_of(report):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def render_scores(report: ScoreReport) -> str:
    """The page's HTML."""
    plots: dict[str, str] = {"scores_plot": plot(scores_figure(report))}
    if report.sensitivity is not None:
        plots["accuracy_plot"] = plot(sensitivity_figure(report, accuracy=True))
        plots["loss_plot"] = plot(sensitivity_figure(report, accuracy=False))
    if report.spectra is not None:
        plots["explained_plot"] = plot(explained_figure(report))
        plots["depth_plot"] = plot(depth_figure(report))
    return rendered(
        "score.html.jinja",
        report=report,
        titles=titles_of(report),
        rows=rows_of(report),
        notes=notes_of(report),
        **plots,
    )


def titles_of(report: ScoreReport) -> list[str]:
    """Return the titles of the columns that have values."""
    titles = ["group", "channels", "least", "median", "largest"]
    titles += ["half: loss", report.metric.name] if report.sensitivity else []
    titles += ["dimensions"] if report.spectra else []
    return titles


def rows_of(report: ScoreReport) -> list[list[str]]:
    """One row for each group."""
    spectra = report.spectra.groups if report.spectra else ()
    significant = {item.name: item.significant(report.variance) for item in spectra}
    rows: list[list[str]] = []
    for group in report.scores.groups:
        scores = group.scores
        shown = (min(scores), statistics.median(scores), max(scores))
        row = [group.name, str(len(scores)), *(f"{value:.3g}" for value in shown)]
        if report.sensitivity is not None:
            half = _at_half(report, group.name)
            row.append("-" if half is None else f"{half.loss:.3f}")
            accuracy = None if half is None else half.accuracy
            row.append("-" if accuracy is None else report.metric.text(accuracy))
        if report.spectra is not None:
            row.append(str(significant.get(group.name, "-")))
        rows.append(row)
    return rows


def notes_of(report: ScoreReport) -> list[str]:
    """How the figures came about, in sentences without their full stop."""
    scores = report.scores
    data = f" on {scores.samples} samples" if scores.samples else ", no data needed"
    notes = [f"{scores.criterion}: {scores.seconds:.1f} s{data}"]
    if (second := scores.rescored) is not None:
        notes.append(rescored_note(second))
    if report.sensitivity is not None and report.sensitivity.accuracy is not None:
        accuracy = report.sensitivity.accuracy
        notes.append(
            f"{report.metric.name} of the whole network on the "
            f"{report.sensitivity.samples} samples of the curves: "
            f"{report.metric.text(accuracy)}"
        )
    return [*notes, *report.notes]


def rescored_note(second: Rescored) -> str:
    """Say what a second criterion looked at, and the time that this saved."""
    seen = (
        f"{second.criterion}: {second.seconds:.1f} s for the {second.channels} of "
        f"{second.of} channels near the cut"
    )
    if second.estimated_seconds_of_all is None:
        return seen
    return f"{seen}; an estimated {second.estimated_seconds_of_all:.1f} s for all"


def scores_figure(report: ScoreReport) -> go.Figure:
    """Every group's scores in rising order."""
    figure = go.Figure()
    for group in report.scores.groups:
        mean = statistics.fmean(group.scores) or 1.0
        count = len(group.scores)
        figure.add_scatter(
            x=[(index + 1) / count * 100 for index in range(count)],
            y=[score / mean for score in sorted(group.scores)],
            mode="lines",
            name=group.name,
        )
    figure.update_layout(
        xaxis_title="channels of the group, %",
        yaxis_title="score / mean",
        height=HEIGHT,
        **_BESIDE,
    )
    return figure


def sensitivity_figure(report: ScoreReport, *, accuracy: bool) -> go.Figure:
    """Accuracy or loss against the share that is removed, group by group."""
    assert report.sensitivity is not None
    figure = go.Figure()
    whole = report.sensitivity.accuracy if accuracy else 0.0
    for name, size in report.sizes.items():
        points = [item for item in report.sensitivity.groups if item.name == name]
        points.sort(key=lambda item: -item.width)
        values = [item.accuracy if accuracy else item.loss for item in points]
        figure.add_scatter(
            x=[0.0, *(100 * (1 - item.width / size) for item in points)],
            y=[
                report.metric.shown(value) if accuracy and value is not None else value
                for value in (whole, *values)
            ],
            mode="lines+markers",
            name=name,
        )
    figure.update_layout(
        xaxis_title="channels removed, %",
        yaxis_title=report.metric.axis if accuracy else "loss",
        height=HEIGHT,
        **_BESIDE,
    )
    return figure


def explained_figure(report: ScoreReport) -> go.Figure:
    """Cumulative explained variance, layer by layer."""
    assert report.spectra is not None
    figure = go.Figure()
    for layer in report.spectra.layers:
        figure.add_scatter(
            x=[(index + 1) / layer.channels * 100 for index in range(layer.channels)],
            y=[share * 100 for share in layer.explained],
            mode="lines",
            name=layer.name,
        )
    figure.update_layout(
        xaxis_title="components, % of the channels",
        yaxis_title="explained variance, %",
        height=HEIGHT,
        **_BESIDE,
    )
    return figure


def depth_figure(report: ScoreReport) -> go.Figure:
    """Significant dimensions and channels of the layers in the order of their run."""
    assert report.spectra is not None
    layers = report.spectra.layers
    names = [layer.name for layer in layers]
    figure = go.Figure()
    figure.add_bar(
        x=names,
        y=[layer.channels for layer in layers],
        name="channels",
        marker_color=BEFORE,
    )
    figure.add_scatter(
        x=names,
        y=[layer.significant(report.variance) for layer in layers],
        mode="lines+markers",
        marker={"color": AFTER, "size": 8},
        name="significant dimensions",
    )
    figure.update_layout(xaxis_tickangle=-60, height=HEIGHT, **LAYOUT)
    return figure


_BESIDE: dict[str, Any] = {**LAYOUT, "legend": {"font": {"size": 11}}}


def _at_half(report: ScoreReport, name: str) -> GroupLoss | None:
    """The measurement nearest to half of a group's channels."""
    assert report.sensitivity is not None
    points = [item for item in report.sensitivity.groups if item.name == name]
    half = report.sizes[name] / 2
    return min(points, key=lambda item: abs(item.width - half), default=None)
