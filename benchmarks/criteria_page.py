"""The page of `benchmarks.criteria`."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.origin import taken
from edgeprune.score.criteria import CRITERIA

Row = dict[str, Any]
STEPS = 50  # of fine-tuning
COST_SAMPLES = 256


def table(rows: Row) -> str:
    """The study as Markdown."""
    lines = [*_rank_lines(rows), *_cost_lines(rows), *taken(rows)]
    return "\n".join(["# Criteria", "", *lines, ""])


def _rank_lines(rows: Row) -> list[str]:
    lines = [
        "Written by `python -m benchmarks.criteria`; what is done is said there. "
        f"{rows.get('remark', '')}",
        "",
        *_summary(rows),
    ]
    for name, network in rows["networks"].items():
        found = {
            criterion: _of(rows["rank"], f"{name} {criterion} ")
            for criterion in CRITERIA
        }
        found = {criterion: held for criterion, held in found.items() if held}
        if not found:
            continue
        lines += [
            f"## {name}: {network['share']:.2f} of the time, "
            f"{network['kept_share']:.0%} of the channels",
            "",
            f"Unpruned {network['accuracy']:.2%}. Test accuracy, mean and spread "
            f"(least to most) over seeds; {STEPS} steps of fine-tuning.",
            "",
            "| criterion | at once | fine-tuned | spread | against random | seconds |",
            "|---|---|---|---|---|---|",
        ]
        chance = [row["after"] for row in found.get("random", [])]
        for criterion, held in found.items():
            after = [row["after"] for row in held]
            before = statistics.fmean(row["before"] for row in held)
            seconds = statistics.median(row["seconds"] for row in held)
            lines.append(
                f"| {criterion} | {before:.1%} | {statistics.fmean(after):.1%} | "
                f"{min(after):.1%} to {max(after):.1%} | {_verdict(after, chance)} | "
                f"{seconds:.1f} |"
            )
        lines.append("")
    return lines


def _summary(rows: Row) -> list[str]:
    """How often each criterion is beyond the spread of random ranking."""
    verdicts: dict[str, list[str]] = {}
    for name in rows["networks"]:
        chance = [row["after"] for row in _of(rows["rank"], f"{name} random ")]
        for criterion in CRITERIA:
            after = [row["after"] for row in _of(rows["rank"], f"{name} {criterion} ")]
            if after and criterion != "random":
                verdicts.setdefault(criterion, []).append(_verdict(after, chance))
    kinds = ("better", "within the spread", "worse")
    lines = [
        "Networks on which a criterion is better than random ranking in all seeds, in "
        "some, or worse in all, after equal fine-tuning at equal time:",
        "",
        f"| criterion | {' | '.join(kinds)} |",
        "|---|---|---|---|",
    ]
    for criterion, found in verdicts.items():
        counts = " | ".join(str(found.count(kind)) for kind in kinds)
        lines.append(f"| {criterion} | {counts} |")
    return [*lines, ""]


def _verdict(found: list[float], chance: list[float]) -> str:
    """Beyond the spread: better or worse than random ranking in every pair of seeds."""
    if not chance or found == chance:
        return "-"
    if min(found) > max(chance):
        return "better"
    return "worse" if max(found) < min(chance) else "within the spread"


def _of(rows: Row, prefix: str) -> list[Row]:
    return [row for key, row in rows.items() if key.startswith(prefix)]


def _cost_lines(rows: Row) -> list[str]:
    if not rows["cost"]:
        return []
    lines = [
        "## What scoring costs",
        "",
        "ResNet-50 at 224, each in a process of its own; the peak holds the data too "
        "(0.15 GB for 256 samples).",
        "",
        "| what, samples | seconds | of one epoch of the same data | peak, GB |",
        "|---|---|---|---|",
    ]
    epoch = rows["cost"].get(f"one epoch of training {COST_SAMPLES}")
    for key, row in rows["cost"].items():
        samples = int(key.rpartition(" ")[2])
        whole = epoch["seconds"] * samples / COST_SAMPLES if epoch else None
        share = "-" if whole is None else f"{row['seconds'] / whole:.2f}"
        lines.append(
            f"| {key} | {row['seconds']:.1f} | {share} | "
            f"{row['peak_bytes'] / 1e9:.2f} |"
        )
    return [*lines, ""]
