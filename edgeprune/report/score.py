"""Shows the findings of `edgeprune score`: a table, a page of curves, and JSON."""

from __future__ import annotations

import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgeprune.files import write_whole
from edgeprune.records import GroupLoss, Rescored, ScoreReport, to_json
from edgeprune.report.chart import Chart, Series
from edgeprune.report.html import rendered
from edgeprune.report.layer_pictures import LayerChange, skylines

PAGE, DATA = "score.html", "score.json"


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
    charts: dict[str, Chart] = {"scores_chart": scores_chart(report)}
    if report.sensitivity is not None:
        charts["accuracy_chart"] = sensitivity_chart(report, accuracy=True)
        charts["loss_chart"] = sensitivity_chart(report, accuracy=False)
    if report.spectra is not None:
        charts["explained_chart"] = explained_chart(report)
    return rendered(
        "score.html.jinja",
        report=report,
        titles=titles_of(report),
        rows=rows_of(report),
        notes=notes_of(report),
        skylines=skylines(depths(report)) if report.spectra else [],
        depths=[
            [layer.name, str(layer.before), str(layer.after)]
            for layer in (depths(report) if report.spectra else ())
        ],
        blocks=[
            [
                block.name,
                "-" if block.loss is None else f"{block.loss:.3f}",
                "-" if block.score is None else f"{block.score:.3g}",
            ]
            for block in report.blocks
        ],
        **charts,
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
        row = [
            report.title(group.name),
            str(len(scores)),
            *(f"{value:.3g}" for value in shown),
        ]
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


def scores_chart(report: ScoreReport) -> Chart:
    """Every group's scores in rising order."""
    series: list[Series] = []
    for number, group in enumerate(report.scores.groups):
        mean, count = statistics.fmean(group.scores) or 1.0, len(group.scores)
        ordered = sorted(group.scores)
        series.append(
            Series(
                report.title(group.name),
                [(index + 1) / count * 100 for index in range(count)],
                [score / mean for score in ordered],
                tone=number,
                dots=False,
            )
        )
    return Chart(
        "Scores of the channels of each group in rising order",
        "channels of the group, %",
        "score / mean",
        tuple(series),
    )


def sensitivity_chart(report: ScoreReport, *, accuracy: bool) -> Chart:
    """Accuracy or loss against the share that is removed, group by group."""
    assert report.sensitivity is not None
    whole = report.sensitivity.accuracy if accuracy else 0.0
    series: list[Series] = []
    for number, (name, size) in enumerate(report.sizes.items()):
        points = [item for item in report.sensitivity.groups if item.name == name]
        points.sort(key=lambda item: -item.width)
        removed = [0.0, *(100 * (1 - item.width / size) for item in points)]
        values = [item.accuracy if accuracy else item.loss for item in points]
        known = [
            (share, report.metric.shown(value) if accuracy else value)
            for share, value in zip(removed, (whole, *values), strict=True)
            if value is not None
        ]
        x, y = [share for share, _ in known], [value for _, value in known]
        series.append(Series(report.title(name), x, y, tone=number, dots=False))
    axis = report.metric.axis if accuracy else "loss"
    title = f"{axis} against the share of channels removed, group by group"
    return Chart(title, "channels removed, %", axis, tuple(series))


def explained_chart(report: ScoreReport) -> Chart:
    """Cumulative explained variance, layer by layer."""
    assert report.spectra is not None
    series = (
        Series(
            layer.name,
            [(index + 1) / layer.channels * 100 for index in range(layer.channels)],
            [share * 100 for share in layer.explained],
            tone=number,
            dots=False,
        )
        for number, layer in enumerate(report.spectra.layers)
    )
    return Chart(
        "Variance that the first principal components explain, layer by layer",
        "components, % of the channels",
        "explained variance, %",
        tuple(series),
    )


def depths(report: ScoreReport) -> list[LayerChange]:
    """Channels of each layer, and its significant dimensions, in their order."""
    assert report.spectra is not None
    return [
        LayerChange(
            layer.name,
            layer.channels,
            layer.significant(report.variance),
            None,
            None,
        )
        for layer in report.spectra.layers
    ]


def _at_half(report: ScoreReport, name: str) -> GroupLoss | None:
    """The measurement nearest to half of a group's channels."""
    assert report.sensitivity is not None
    points = [item for item in report.sensitivity.groups if item.name == name]
    half = report.sizes[name] / 2
    return min(points, key=lambda item: abs(item.width - half), default=None)
