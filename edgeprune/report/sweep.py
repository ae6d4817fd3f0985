"""Shows a sweep: a table of all cells, and the frontier of accuracy against time."""

from __future__ import annotations

from rich.console import Console

from edgeprune.records.sweep import SweepCell, SweepOriginal, SweepReport
from edgeprune.report.chart import Chart, Series
from edgeprune.report.html import rendered
from edgeprune.report.tables import plain_table
from edgeprune.units import megabytes, millions, milliseconds


def show_sweep(console: Console, report: SweepReport) -> None:
    """The table and the sentence."""
    console.print(plain_table(*cells_of(report)))
    for cell in report.cells:
        if cell.file is None:
            console.print(
                f"{cell.told}: {cell.status}: {cell.sentence}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    console.print(f"\n{report.sentence}", highlight=False, soft_wrap=True)


def sweep_page(report: SweepReport) -> str:
    """The page's HTML."""
    titles, rows = cells_of(report)
    return rendered(
        "sweep.html.jinja",
        report=report,
        titles=titles,
        rows=rows,
        charts=[
            (target, frontier_chart(report, target)) for target in report.baseline_ms
        ],
        without=[
            [cell.told, cell.status, cell.sentence]
            for cell in report.cells
            if cell.file is None
        ],
    )


def cells_of(report: SweepReport) -> tuple[list[str], list[list[str]]]:
    """Titles, and a row for each cell that has a result; the original first."""
    own = list(dict.fromkeys(name for cell in report.cells for name in cell.changes))
    metric = report.metric
    titles = [
        *("cell", *(name.replace("_", "-") for name in own), "status"),
        *("latency", "share", f"test {metric.name}", "file", "MACs"),
        "frontier",
    ]
    rows: list[list[str]] = []
    for name, item in originals_of(report):
        accuracy = "-" if item.accuracy is None else metric.text(item.accuracy)
        blank = [""] * len(own)
        row = [name, *blank, "", milliseconds(item.latency_ms), "100 %", accuracy]
        rows.append([*row, "", "", ""])
    for cell in sorted(report.cells, key=_by_time):
        if cell.file is None:
            continue
        shipped = report.ship.get(cell.target) == cell.name
        rows.append(
            [
                cell.number,
                *(str(cell.changes.get(name, "")) for name in own),
                cell.status,
                milliseconds(cell.latency_ms or 0.0),
                f"{cell.latency_ratio:.1%}",
                "-" if cell.accuracy is None else metric.text(cell.accuracy),
                megabytes(cell.size_bytes or 0),
                millions(cell.macs or 0),
                "ship" if shipped else "yes" if cell.on_frontier else "",
            ]
        )
    return titles, rows


def originals_of(report: SweepReport) -> list[tuple[str, SweepOriginal]]:
    """What cells are compared with, by what it is called in tables."""
    accuracy = report.baseline_accuracy
    items = report.originals or tuple(  # of a file from before there could be several
        SweepOriginal(target, "", ms, accuracy)
        for target, ms in report.baseline_ms.items()
    )
    several = len({item.model for item in items}) > 1
    places = len({item.target for item in items}) > 1
    return [
        (
            " ".join(
                [
                    "original",
                    *([item.model] if several else []),
                    *([f"on {item.target}"] if places else []),
                ]
            ),
            item,
        )
        for item in items
    ]


def _by_time(cell: SweepCell) -> tuple[str, float]:
    return cell.target, cell.latency_ms or 0.0


def frontier_chart(report: SweepReport, target: str) -> Chart:
    """Accuracy against time on one target: all cells, and those that none beats."""
    own = [
        (cell, cell.latency_ms, report.metric.shown(cell.accuracy))
        for cell in sorted(report.cells, key=_by_time)
        if cell.target == target
        and cell.latency_ms is not None
        and cell.accuracy is not None
    ]
    best = [item for item in own if item[0].on_frontier]
    rest = [item for item in own if not item[0].on_frontier]
    series: list[Series] = []
    for name, items, lined in (("frontier", best, True), ("other cells", rest, False)):
        if items:
            series.append(
                Series(
                    name,
                    [ms for _, ms, _ in items],
                    [value for _, _, value in items],
                    [cell.number for cell, _, _ in items],
                    "after" if lined else "before",
                    lined=lined,
                )
            )
    known = [
        (name, item.latency_ms, report.metric.shown(item.accuracy))
        for name, item in originals_of(report)
        if item.target == target and item.accuracy is not None
    ]
    if known:
        names, times, values = (list(part) for part in zip(*known, strict=True))
        series.append(Series("original", times, values, names, "c1", lined=False))
    axis = report.metric.axis
    title = f"Test {axis} against time on {target}; the table has the figures"
    return Chart(title, "median latency, ms", f"test {axis}", tuple(series))
