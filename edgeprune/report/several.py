"""One network on several targets: a table in the terminal, and a page."""

from __future__ import annotations

from rich.console import Console

from edgeprune.records import ModelOnTargets, TargetsReport
from edgeprune.report.html import rendered
from edgeprune.report.tables import plain_table
from edgeprune.units import megabytes, millions, milliseconds


def rows_of_targets(report: TargetsReport) -> tuple[list[str], list[list[str]]]:
    """Titles, and a row of cells for the original and for each model."""
    names = list(report.budgets_ms)
    titles = ["model", *names, f"test {report.metric.name}", "MACs", "file", "within"]
    budget = [milliseconds(report.budgets_ms[name]) for name in names]
    original = [milliseconds(report.baseline_ms[name]) for name in names]
    rows = [
        ["budget", *budget, "", "", "", ""],
        [
            "original",
            *original,
            report.metric.text(report.baseline_test_accuracy),
            "",
            "",
            "",
        ],
    ]
    for item in report.models:
        chosen = " (for all)" if item.run == report.for_all else ""
        rows.append(
            [
                f"{item.run}{chosen}",
                *(_time(item, name) for name in names),
                report.metric.text(item.test_accuracy),
                millions(item.macs),
                megabytes(item.size_bytes),
                ", ".join(item.within) or "none",
            ]
        )
    return titles, rows


def _time(item: ModelOnTargets, target: str) -> str:
    about = "about " if target in item.estimated else ""
    return f"{about}{milliseconds(item.latency_ms[target])}"


def show_targets_report(console: Console, report: TargetsReport) -> None:
    """The table and the sentence."""
    console.print(plain_table(*rows_of_targets(report)))
    console.print(f"\n{report.sentence}", highlight=False, soft_wrap=True)


def targets_page(report: TargetsReport) -> str:
    """The page's HTML."""
    titles, rows = rows_of_targets(report)
    return rendered("several.html.jinja", report=report, titles=titles, rows=rows)
