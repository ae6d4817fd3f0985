"""The page of `benchmarks.coverage`."""

from __future__ import annotations

from typing import Any

from benchmarks.origin import taken

Row = dict[str, Any]
EXACT, EXPORTED = 1e-9, 1e-4


def page(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    head = (
        "| network | task | groups | approximate | blocks | channels | MACs left "
        "| exact | unpruned | ONNX | s | peer channels | peer s |"
    )
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    for name, row in sorted(rows.items(), key=lambda item: (item[1]["task"], item[0])):
        peer_failed = "peer_problem" in row
        cells = [
            name,
            row["task"],
            *(_cell(row.get(key), "d") for key in ("groups", "approximate", "blocks")),
            _cell(row.get("channels"), "d"),
            _cell(row.get("macs_left"), ".0%"),
            _cell(row.get("difference"), ".0e"),
            _cell(row.get("unpruned_difference"), ".0e"),
            _cell(row.get("exported_difference"), ".0e"),
            _cell(row.get("seconds"), ".2f"),
            _cell(row.get("peer_channels"), "d", "fails" if peer_failed else "-"),
            _cell(row.get("peer_seconds"), ".2f"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*summary(rows), "", *lines, *taken(rows), ""])


def _cell(value: Any, form: str, none: str = "-") -> str:
    return none if value is None else format(value, form)


COLUMNS = """
- groups, approximate, blocks: channel groups, those of them whose removal changes more
  than what the consumers read, modules that could become an identity
- channels: output channels of convolutions and linear layers that can go, each layer
  counted by itself, as for the peer
- MACs left: after a random plan takes 30 to 50 % of every group
- exact: every exact group pruned by half, against the original with the consumers'
  slices at zero; largest difference as a share of the largest output. `unpruned`: the
  same against the untouched original, which must differ
- ONNX: the same pruned network in ONNX Runtime against PyTorch, float32
- s: median seconds to find the groups and prune all by half; the peer's, in turns.
  `fails`: it raises an error or does not end within the study's patience of a minute
"""


def summary(rows: dict[str, Row]) -> list[str]:
    """What the table says, in a few lines."""
    lines = ["# Coverage of the graph core", "", "`python -m benchmarks.coverage`", ""]
    for task in sorted({row["task"] for row in rows.values()}):
        of_task = [row for row in rows.values() if row["task"] == task]
        pruned = sum(row.get("channels", 0) > 0 for row in of_task)
        lines.append(f"- {task}: {pruned} of {len(of_task)} networks pruned")
        for key, limit, said in (
            ("difference", EXACT, "difference"),
            ("exported_difference", EXPORTED, "difference in ONNX Runtime"),
        ):
            found = [row[key] for row in of_task if row.get(key) is not None]
            doubles = [row for row in of_task if row.get("precision") != "float32"]
            if key == "difference":
                found = [row[key] for row in doubles if row.get(key) is not None]
            if found:
                lines[-1] += (
                    f"; {said} below {limit:.0e} in {sum(x < limit for x in found)} of "
                    f"{len(found)} (largest {max(found):.0e})"
                )
    both = [row for row in rows.values() if {"peer_channels", "seconds"} <= row.keys()]
    failed = sum("peer_problem" in row for row in rows.values())
    if both:
        ours = sum(row["seconds"] for row in both)
        theirs = sum(row["peer_seconds"] for row in both)
        fewer = [row for row in both if row["channels"] < row["peer_channels"]]
        lines += [
            f"- Torch-Pruning 1.6.1 prunes {len(both)} of {len(both) + failed}: it "
            f"takes {theirs:.0f} s on these, edgeprune {ours:.0f} s "
            f"({ours / theirs:.2f} times as long)",
            f"- of these, networks where edgeprune prunes fewer channels: {len(fewer)}",
        ]
    return [*lines, *COLUMNS.splitlines()]
