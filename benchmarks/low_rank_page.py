"""The page of `benchmarks.low_rank`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.origin import taken

Row = dict[str, Any]
SHARES = {"half": 0.5, "quarter": 0.25}
BUDGETS = (0.5,)  # of the network's own time
TUNED = 8000  # of them behind a plan


def table(rows: Row, timed: Iterable[str], planned: Iterable[str]) -> str:
    """Both studies as Markdown.

    Args:
        timed, planned: networks of each.
    """
    lines = [
        "# Low rank",
        "",
        "Written by `python -m benchmarks.low_rank`. A layer's time is from the "
        "runtime's own profile and includes what runs right after it. "
        f"{rows.get('remark', '')}",
    ]
    for network in timed:
        lines += _layers_table(rows, network)
    for network in planned:
        lines += _planner_table(rows, network)
    return "\n".join([*lines, *taken(rows), ""])


def _layers_table(rows: Row, network: str) -> list[str]:
    ways = [way for way in (*SHARES, "bayes") if f"layers/{network}/{way}" in rows]
    if not ways:
        return []
    held = {way: rows[f"layers/{network}/{way}"] for way in ways}
    head = "| layer | plain, ms | " + " | ".join(f"{way}: ranks, ms" for way in ways)
    lines = ["", f"## {network}: every layer factored", "", head + " |"]
    lines.append("|---|---|" + "---|" * len(ways))
    for name, first in held[ways[0]]["layers"].items():
        cells = []
        for way in ways:
            item = held[way]["layers"][name]
            faster = "**" if item["ms"][1] < item["ms"][0] else ""
            ranks = "x".join(map(str, item["ranks"]))
            cells.append(f"{ranks}, {faster}{item['ms'][1]:.3f}{faster}")
        lines.append(f"| {name} | {first['ms'][0]:.3f} | " + " | ".join(cells) + " |")
    cells = [
        f"{row['ms'][1] / row['ms'][0]:.2f}x the time, "
        f"{row['macs'][1] / row['macs'][0]:.2f}x the operations"
        for row in held.values()
    ]
    lines.append("| whole network | | " + " | ".join(cells) + " |")
    return lines


def _planner_table(rows: Row, network: str) -> list[str]:
    lines: list[str] = []
    for share in BUDGETS:
        found = {
            way: rows[key]
            for way in ("no", "planner", "bayes")
            if (key := f"planner/{network}/{share}/{way}") in rows
        }
        if not found:
            continue
        lines += [
            "",
            f"## {network}: the planner's choice at {share} of the time",
            "",
            "| ranks | status | ms | operations | validation before training | test "
            f"after an epoch on {TUNED} images | layers factored | seconds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_planner_row(way, row) for way, row in found.items()]
        if (row := found.get("planner")) is not None:
            head = "| layer | choice | before | after | ms |"
            lines += ["", head, "|---|---|---|---|---|"]
            for name, item in row["layers"].items():
                before = "x".join(map(str, item["before"]))
                after = ", ".join("x".join(map(str, part)) for part in item["after"])
                same = item["after"] == [item["before"]]
                choice = "left" if same else item["choice"].split(" or ")[0]
                times = ["-" if ms is None else f"{ms:.3f}" for ms in item["ms"]]
                cells = (name, choice, before, after, " -> ".join(times))
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _planner_row(way: str, row: Row) -> str:
    count = sum(item["choice"] == "factored" for item in row["layers"].values())
    cells = (
        way,
        row["status"],
        f"{row['ms'][0]:.2f} -> {row['ms'][1]:.2f}",
        f"{row['macs'][1] / row['macs'][0]:.2f}x",
        f"{row['before_training']:.2%}",
        f"{row['test'][0]:.2%} -> {row['test'][1]:.2%}",
        str(count),
        f"{row['seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"
