"""Shows the findings of `edgeprune sparsify`: one table, as a page and as JSON."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgeprune.files import write_whole
from edgeprune.records import REMOVED, SparsityReport, to_json
from edgeprune.report.chart import Chart, Rule, Series
from edgeprune.report.html import rendered
from edgeprune.report.summary import shown_by
from edgeprune.units import megabytes, millions, milliseconds, percent

PAGE, DATA = "sparsity.html", "sparsity.json"
TITLES = (
    "",
    "zero weights",
    "of convolutions",
    "zero channels",
    "compressed",
    "parameters",
    "MACs",
    "latency",
    "validation",
    "test",
)


def write_sparsity(report: SparsityReport, folder: Path) -> None:
    """Write sparsity.html, and sparsity.json last: it marks a finished run."""
    write_whole(folder / PAGE, render_sparsity(report))
    write_whole(folder / DATA, to_json(report))


def show_sparsity(console: Console, report: SparsityReport) -> None:
    """The table, a column for each step, and the sentences."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = list(zip(TITLES, *rows_of(report), strict=True))
    for index, title in enumerate(columns[0]):
        table.add_column(title, justify="right" if index else "left")
    for row in columns[1:]:
        table.add_row(*row)
    console.print(table)
    for note in (*notes_of(report), "", report.sentence):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def render_sparsity(report: SparsityReport) -> str:
    """The page's HTML."""
    return rendered(
        "sparsity.html.jinja",
        report=report,
        titles=TITLES,
        rows=rows_of(report),
        notes=notes_of(report),
        accuracy_chart=accuracy_chart(report),
    )


def rows_of(report: SparsityReport) -> list[list[str]]:
    """One row for each step."""
    rows: list[list[str]] = []
    shown = shown_by(report.metric)
    for step in report.steps:
        zeros = step.sparsity
        convolved, test = zeros.convolutions, step.test_accuracy
        rows.append(
            [
                step.name,
                percent(zeros.overall),
                "-" if convolved is None else percent(convolved),
                percent(zeros.channels),
                megabytes(zeros.gzip_bytes),
                millions(step.params),
                millions(step.macs),
                "-" if step.latency_ms is None else milliseconds(step.latency_ms),
                shown(step.validation_accuracy),
                "-" if test is None else shown(test),
            ]
        )
    return rows


def notes_of(report: SparsityReport) -> list[str]:
    """Explain what the zeros are worth, and what made them."""
    timed = [step for step in report.steps if step.latency_ms is not None]
    notes: list[str] = []
    if len(timed) > 1:
        before, sparse = timed[0].latency_ms or 0.0, timed[1].latency_ms or 0.0
        notes.append(
            f"Zeros alone gain no time in a dense runtime: {milliseconds(sparse)} with "
            f"them, {milliseconds(before)} without"
        )
    if report.difference is not None:
        notes.append(
            "Removing what is zero throughout changed outputs by "
            f"{report.difference:.1e} of the largest one at most"
        )
    if report.penalty is not None:
        notes.append(
            f"The penalty ended at {report.penalty.weight:.3g} and by itself made "
            f"{report.penalty.by_itself:.1%} zero; the smallest of the rest joined"
        )
    return [*notes, *report.notes]


def accuracy_chart(report: SparsityReport) -> Chart:
    """The validation metric against the share of zeros, as long as they are there."""
    metric = report.metric
    steps = [step for step in report.steps if step.name not in REMOVED]
    kinds = (
        ("all weights", "overall", "after"),
        ("convolutions", "convolutions", "c1"),
    )
    series: list[Series] = []
    for name, field, tone in kinds:
        shares = [getattr(step.sparsity, field) for step in steps]
        if None in shares:
            continue
        series.append(
            Series(
                name,
                [share * 100 for share in shares],
                [metric.shown(step.validation_accuracy) for step in steps],
                [step.name for step in steps] if not series else (),
                tone,
            )
        )
    return Chart(
        f"Validation {metric.name} against the share of zeros; the table has the "
        "figures",
        "zero, %",
        f"validation {metric.axis}",
        tuple(series),
        (Rule("floor", metric.shown(report.accuracy_floor)),),
    )
