"""The page and the plot of `benchmarks.seeds`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.origin import taken

SHARES = (0.5, 0.7, 0.9)
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude", "gradual": True},
    "l1-mask": {"method": "l1-mask", "gradual": True},
    "hybrid": {"method": "hybrid", "gradual": True},
    "slimming": {"method": "slimming"},
    "prox-sg, channels": {"method": "prox-sg"},
    "prox-sg, weights": {"method": "prox-sg", "regulariser": "weights"},
    "bayesian": {"method": "bayesian"},
}
SAMPLES = 20_000  # of the training images, to be through in minutes
Row = dict[str, Any]


def table(rows: Row) -> str:
    """All studies as Markdown."""
    lines = ["# The texts' experiments", "", "Written by `python -m benchmarks.seeds`."]
    for part in (_mnist_table, _sparsity_table, _gradual_table, _growth_table):
        lines += part(rows)
    return "\n".join([*lines, *_power_table(rows), *taken(rows), ""])


def _mnist_table(rows: Row) -> list[str]:
    if (row := rows.get("mnist")) is None:
        return []
    return [
        "",
        "## VGG-16 on MNIST: prox-sg over channels",
        "",
        f"{row['seconds'] / 60:.1f} minutes in all on two cores, of them "
        f"{row['baseline_s']:.0f} s for training the baseline (one epoch). 60 % of the "
        f"channels were wanted; the penalty itself made {row['penalty'][1]:.0%} zero. "
        f"Removing them changed outputs by {row['difference']:.0e} of the largest "
        "one. The text has 99 % at about 70 % sparsity.",
        "",
        *_step_rows(row),
    ]


def _step_rows(row: Row) -> list[str]:
    titles = (
        "zero weights, of convolutions, gzip (MB), parameters, ms, validation, test"
    )
    head = "| | " + " | ".join(titles.split(", ")) + " |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for step in row["steps"]:
        ms = "-" if step["ms"] is None else f"{step['ms']:.2f}"
        test = "-" if step["test"] is None else f"{step['test']:.2%}"
        lines.append(
            f"| {step['name']} | {step['overall']:.1%} | {step['convolutions']:.1%} | "
            f"{step['gzip_bytes'] / 1e6:.2f} | {step['params'] / 1e6:.3g} M | {ms} | "
            f"{step['validation']:.2%} | {test} |"
        )
    return lines


def _sparsity_table(rows: Row) -> list[str]:
    held = {key: row for key, row in rows.items() if key.startswith("sparsity/")}
    if not held:
        return []
    baseline = next(iter(held.values()))["steps"][0]
    lines = [
        "",
        "## Accuracy against sparsity",
        "",
        f"Five convolutions on {SAMPLES} images of Fashion-MNIST, baseline "
        f"{baseline['test']:.2%} on the test images; three epochs of distillation, "
        "masks along the cubic, one seed. A cell is test accuracy at the share of zero "
        "weights that came out, overall / of the convolutions: methods that take "
        "channels zero the weights that read them, too. Plot: `seeds.svg`.",
        "",
        "| method | " + " | ".join(f"asked {share:.0%}" for share in SHARES) + " |",
        "|---|" + "---|" * len(SHARES),
    ]
    for name in METHODS:
        cells = []
        for share in SHARES:
            row = held.get(f"sparsity/{name}/{share}")
            step = row["steps"][-1] if row else None
            cells.append(
                f"{step['test']:.2%} at {step['overall']:.0%} / "
                f"{step['convolutions']:.0%}"
                if step
                else "-"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _gradual_table(rows: Row) -> list[str]:
    held: dict[tuple[str, str], list[float]] = {}
    for key, row in rows.items():
        if key.startswith("gradual/"):
            _, what, way, _ = key.split("/")
            held.setdefault((what, way), []).append(row["steps"][-1]["test"])
    if not held:
        return []
    lines = [
        "",
        "## Continuous against block-wise",
        "",
        "The same network and data, three epochs in each case; test accuracy, mean "
        "over the seeds, smallest to largest.",
        "",
        "| zeros | way | test accuracy | seeds |",
        "|---|---|---|---|",
    ]
    for (what, way), found in held.items():
        lines.append(
            f"| {what} | {way} | {statistics.mean(found):.2%} "
            f"({min(found):.2%} to {max(found):.2%}) | {len(found)} |"
        )
    return lines


GROWTH: dict[str, str] = {
    "wider": "half, `--grow`",
    "both": "half, `edgeprune fit`",
    "train on": "half, only trained on (16 epochs)",
    "whole": "the whole network, trained on (16 epochs)",
}


def _growth_table(rows: Row) -> list[str]:
    if not any(key.startswith("growth/") for key in rows):
        return []
    lines = [
        "",
        "## A network that starts too small",
        "",
        f"Five convolutions on {SAMPLES} images of CIFAR-10, with half of their "
        "widths, grow into the time of the whole network. Eight epochs for each "
        "baseline; in each round sixteen with `--grow`, eight with `fit`; one seed. "
        "Test accuracy at the start and the end.",
        "",
        "| way | start | end | ms | budget, ms | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for key, label in GROWTH.items():
        if (row := rows.get(f"growth/{key}")) is None:
            continue
        ms = " -> ".join(f"{value:.3f}" for value in row.get("ms", [])) or "-"
        budget = f"{row['budget_ms']:.3f}" if "budget_ms" in row else "-"
        rounds = len(row["steps"]) - 1 if "steps" in row else "-"
        lines.append(
            f"| {label} | {row['start']:.2%} | {row['end']:.2%} | {ms} | {budget} | "
            f"{rounds} |"
        )
    return lines


def _power_table(rows: Row) -> list[str]:
    if not any(key.startswith("power/") for key in rows):
        return []
    lines = ["", "## Neither images nor speech: Italian power demand, 24 hours", ""]
    if row := rows.get("power/compress"):
        lines += [
            f"`compress` at {row['budget_ms']:.4f} ms: {row['status']}, test accuracy "
            f"{row['start']:.2%} -> {row['end']:.2%}, {row['ms'][0]:.4f} -> "
            f"{row['ms'][1]:.4f} ms.",
            "",
        ]
    for name in METHODS:
        if row := rows.get(f"power/{name}"):
            lines += [f"`sparsify`, {name}, 70 %:", "", *_step_rows(row), ""]
    return lines


def draw(rows: Row, path: Path) -> None:
    """Accuracy against sparsity, with the frontier, overall and convolutions only."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, sides = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    kinds = (("overall", "all weights"), ("convolutions", "convolutions only"))
    for axes, (field, title) in zip(sides, kinds, strict=True):
        every: list[tuple[float, float]] = []
        for name in METHODS:
            steps = [
                row["steps"][-1]
                for key, row in rows.items()
                if key.startswith(f"sparsity/{name}/")
            ]
            points = sorted((step[field], step["test"]) for step in steps)
            every += points
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, "o-", label=name, markersize=4, linewidth=1)
        best = [
            point
            for point in every
            if not any(_dominates(other, point) for other in every)
        ]
        x, y = zip(*sorted(best), strict=True)
        axes.plot(x, y, color="black", linewidth=3, alpha=0.25, label="frontier")
        axes.set_xlabel(f"zero, {title}")
        axes.grid(visible=True, alpha=0.3)
    sides[0].set_ylabel("test accuracy")
    sides[0].legend(fontsize=8)
    figure.tight_layout()
    mpl.rcParams["svg.hashsalt"] = "edgeprune"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _dominates(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]
