"""The experiments of the texts that edgeprune grew from, with today's tool.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.seeds mnist      # VGG-16: 60 % of the channels zero, then gone
    python -m benchmarks.seeds sparsity   # accuracy against sparsity, all methods
    python -m benchmarks.seeds gradual    # continuous against block-wise
    python -m benchmarks.seeds growth     # a network that starts too small
    python -m benchmarks.seeds power      # neither images nor speech

MNIST and Fashion-MNIST and the signals are looked for at EDGEPRUNE_TEST_DATA. What is
there is not measured again. Writes `seeds.json`, `seeds.md` and `seeds.svg`.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer
from rich.console import Console
from torch import nn

import edgeprune
from benchmarks.networks import (
    SmallConv,
    cifar10,
    fashion_mnist,
    mnist,
    mnist_vgg16,
    power_demand,
)
from edgeprune.data import Reading, Splits
from edgeprune.data.splits import Arrays, array_splits
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import evaluate, train
from edgeprune.report.terminal import PlainProgress

HERE = Path(__file__).parent
ROWS, TABLE, PLOT = (HERE / f"seeds.{kind}" for kind in ("json", "md", "svg"))
BATCH = 128
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
SEEDS = 3
LOUD = PlainProgress(Console(stderr=True))

Row = dict[str, Any]
app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command("mnist")
def run_mnist() -> None:
    """VGG-16 on MNIST by prox-sg, the smaller model trained again."""
    if "mnist" in _rows():
        return
    arrays, start = mnist(), time.perf_counter()
    splits = array_splits(arrays, Reading(BATCH))
    recipe = TrainingConfig("baseline", 1, learning_rate=0.05, progress=LOUD)
    model, _ = train(mnist_vgg16(), splits, recipe)
    trained = time.perf_counter() - start
    done = _sparsified(
        model,
        arrays,
        method="prox-sg",
        sparsity=0.6,
        materialise=True,
        epochs=2,
        accuracy_floor=0.985,
    )
    seconds = time.perf_counter() - start
    _keep("mnist", {"baseline_s": trained, "seconds": seconds, **_steps(done)})


@app.command()
def sparsity() -> None:
    """Accuracy against sparsity, overall and of the convolutions."""
    arrays = _some(fashion_mnist())
    splits = array_splits(arrays, Reading(BATCH))
    model = _small(splits, (32, 32, 64, 64, 128), epochs=6)
    for name, settings in METHODS.items():
        for share in SHARES:
            key = f"sparsity/{name}/{share}"
            if key not in _rows():
                done = _sparsified(
                    model,
                    arrays,
                    sparsity=share,
                    epochs=3,
                    accuracy_floor=0.0,
                    **settings,
                )
                _keep(key, _steps(done))


@app.command()
def gradual() -> None:
    """Masks that grow during one training against rounds of the same length."""
    arrays = _some(fashion_mnist())
    for seed in range(SEEDS):
        splits = array_splits(arrays, Reading(BATCH, seed))
        model = _small(splits, (32, 32, 64, 64, 128), epochs=6, seed=seed)
        for method, share in (("magnitude", 0.95), ("l1-mask", 0.7)):
            for way, settings in (
                ("gradual", {"gradual": True, "epochs": 3}),
                ("3 rounds", {"rounds": 3, "epochs": 1}),
                ("at once", {"rounds": 1, "epochs": 3}),
            ):
                key = f"gradual/{method} {share}/{way}/{seed}"
                if key not in _rows():
                    done = _sparsified(
                        model,
                        arrays,
                        method=method,
                        sparsity=share,
                        seed=seed,
                        accuracy_floor=0.0,
                        **settings,
                    )
                    _keep(key, _steps(done))


@app.command()
def growth() -> None:
    """From half the widths to the time of the whole network."""
    arrays = _cifar()
    splits = array_splits(arrays, Reading(BATCH))
    half = _small(splits, (16, 16, 32, 32, 64), epochs=8)
    whole = _small(splits, (32, 32, 64, 64, 128), epochs=8)
    budget = _ms(whole, splits)
    for way, epochs in (("wider", 16), ("both", 8)):  # of each round
        if f"growth/{way}" not in _rows():
            done = _compressed(half, arrays, budget, growth=way, epochs=epochs)
            _keep(f"growth/{way}", _run(done) | {"budget_ms": budget})
    if "growth/train on" not in _rows():
        recipe = TrainingConfig("train on", 16, learning_rate=0.02, progress=LOUD)
        trained, _ = train(half, splits, recipe)
        row = {
            "start": evaluate(half, splits.test),
            "end": evaluate(trained, splits.test),
        }
        _keep("growth/train on", row)
    if "growth/whole" not in _rows():
        recipe = TrainingConfig("whole", 16, learning_rate=0.02, progress=LOUD)
        trained, _ = train(whole, splits, recipe)
        found = [evaluate(model, splits.test) for model in (whole, trained)]
        row = {"start": found[0], "end": found[1], "budget_ms": budget}
        _keep("growth/whole", row)


@app.command()
def power() -> None:
    """Days of electricity demand, 24 hours each: two seasons to be told apart."""
    arrays = power_demand()
    splits = array_splits(arrays, Reading(16))
    model = _small(splits, (32, 32, 64, 64, 128), epochs=60)
    if "power/compress" not in _rows():
        budget = 0.5 * _ms(model, splits)
        done = _compressed(model, arrays, budget, epochs=30, batch_size=16)
        _keep("power/compress", _run(done) | {"budget_ms": budget})
    for name in ("magnitude", "prox-sg, channels"):
        if f"power/{name}" not in _rows():
            done = _sparsified(
                model,
                arrays,
                sparsity=0.7,
                epochs=40,
                batch_size=16,
                accuracy_floor=0.0,
                materialise=True,
                **METHODS[name],
            )
            _keep(f"power/{name}", _steps(done))


def _small(
    splits: Splits, widths: tuple[int, ...], *, epochs: int, seed: int = 0
) -> nn.Module:
    """A small convolutional network, trained."""
    channels, *sides = splits.sample_shape
    torch.manual_seed(seed)
    model = SmallConv(channels, splits.classes, axes=len(sides), widths=widths)
    recipe = TrainingConfig(
        "baseline", epochs, learning_rate=0.05, seed=seed, progress=LOUD
    )
    return train(model, splits, recipe)[0].eval()


def _some(arrays: Arrays) -> Arrays:
    """The first training images only."""
    return Arrays(
        arrays.name,
        arrays.x_train[:SAMPLES],
        arrays.y_train[:SAMPLES],
        arrays.x_test,
        arrays.y_test,
    )


def _cifar() -> Arrays:
    """As many training images of CIFAR-10, and its test images."""
    held = cifar10((0.5,) * 3, (0.25,) * 3)
    x, y = held.train
    return Arrays(
        "CIFAR-10",
        x[:SAMPLES].numpy(),
        y[:SAMPLES].numpy(),
        held.test[0].numpy(),
        held.test[1].numpy(),
    )


def _sparsified(model: nn.Module, arrays: Arrays, **settings: Any) -> Any:
    settings = {"batch_size": BATCH, "progress": LOUD, **settings}
    with tempfile.TemporaryDirectory() as folder:
        return edgeprune.sparsify(model, arrays, out=Path(folder) / "run", **settings)


def _compressed(model: nn.Module, arrays: Arrays, ms: float, **settings: Any) -> Any:
    settings = {"batch_size": BATCH, "progress": LOUD, **settings}
    with tempfile.TemporaryDirectory() as folder:
        return edgeprune.compress(
            model,
            arrays,
            budget=ms,
            reconstruct=False,
            out=Path(folder) / "run",
            **settings,
        )


def _ms(model: nn.Module, splits: Splits) -> float:
    """Of one sample."""
    from edgeprune import targets
    from edgeprune.measure.benchmark import Benchmark
    from edgeprune.measure.runner import HostRunner

    with tempfile.TemporaryDirectory() as folder:
        inputs = (torch.randn(1, *splits.sample_shape),)
        benchmark = Benchmark(HostRunner(targets.load("host")), inputs, Path(folder))
        return benchmark.compare([benchmark.export(model, "network")])[0].median_ms


def _steps(done: Any) -> Row:
    """What a report of zeros says, step by step."""
    report = done.report
    return {
        "penalty": report.penalty and [report.penalty.weight, report.penalty.by_itself],
        "difference": report.difference,
        "steps": [
            {
                "name": step.name,
                "overall": step.sparsity.overall,
                "convolutions": step.sparsity.convolutions,
                "channels": step.sparsity.channels,
                "gzip_bytes": step.sparsity.gzip_bytes,
                "params": step.params,
                "macs": step.macs,
                "ms": step.latency_ms,
                "validation": step.validation_accuracy,
                "test": step.test_accuracy,
            }
            for step in report.steps
        ],
    }


def _run(done: Any) -> Row:
    """What a report of a compression says."""
    report = done.report
    return {
        "status": report.status,
        "start": report.baseline.test_accuracy,
        "end": report.result.test_accuracy,
        "ms": [report.baseline.latency_ms, report.result.latency_ms],
        "macs": [report.baseline.macs, report.result.macs],
        "params": [report.baseline.params, report.result.params],
        "steps": [[s.name, s.latency_ms, s.validation_accuracy] for s in report.steps],
        "widths": [dict(item.widths) for item in report.attempts],
    }


def _rows() -> Row:
    return json.loads(ROWS.read_text()) if ROWS.is_file() else {}


def _keep(key: str, row: Row) -> None:
    rows = {**_rows(), key: row}
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))
    if any(name.startswith("sparsity/") for name in rows):
        draw(rows)
    print(key, row, flush=True)


def table(rows: Row) -> str:
    """All studies as Markdown."""
    lines = ["# The texts' experiments", "", "Written by `python -m benchmarks.seeds`."]
    for part in (_mnist_table, _sparsity_table, _gradual_table, _growth_table):
        lines += part(rows)
    return "\n".join([*lines, *_power_table(rows)]) + "\n"


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


def draw(rows: Row) -> None:
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
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def _dominates(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]


PARTS: dict[str, Callable[[], None]] = {
    "mnist": run_mnist,
    "sparsity": sparsity,
    "gradual": gradual,
    "growth": growth,
    "power": power,
}


@app.command("all")
def everything() -> None:
    """All of them, one after the other."""
    for part in PARTS.values():
        part()


if __name__ == "__main__":
    app()
