"""Shows a comparison: one table, in the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from edgeprune.report.compare import Comparison
from edgeprune.report.html import rendered
from edgeprune.report.page_charts import times_chart
from edgeprune.report.tables import plain_table


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Results side by side, and what makes them unlike."""
    console.print(plain_table(*cells_of(comparison)))
    told = [f"unlike: {warning}" for warning in comparison.warnings]
    told += [f"note: {note}" for note in comparison.notes]
    for line in told:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def render_comparison(comparison: Comparison, worse: Sequence[str] | None) -> str:
    """The page's HTML.

    Args:
        worse: what got worse; None where nobody asked.
    """
    timings = {
        f"{number + 1}: {item.name}": item.timing
        for number, item in enumerate(comparison.items)
        if item.timing is not None
    }
    titles, rows = cells_of(comparison)
    return rendered(
        "compare.html.jinja",
        comparison=comparison,
        worse=worse,
        titles=titles,
        rows=rows,
        times_chart=times_chart(timings),
    )


def cells_of(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows; with two results the change has a column of its own."""
    names, two = comparison.names, len(comparison.names) == 2
    titles = ["", *names, *(["first / second"] if two else [])]
    rows: list[list[str]] = []
    for row in comparison.rows:
        cells = [row.text(index) for index in range(len(names))]
        if two:
            cells.append(row.change())
        else:
            for index in range(1, len(names)):
                change = row.change(index)
                cells[index] += f" ({change})" if change else ""
        rows.append([row.label, *cells])
    return titles, rows
