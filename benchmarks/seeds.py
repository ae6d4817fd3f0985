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
from benchmarks.origin import origin
from benchmarks.seeds_page import METHODS, SAMPLES, SHARES, Row, draw, table
from edgeprune.data import Reading, Splits
from edgeprune.data.splits import Arrays, array_splits
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import evaluate, train
from edgeprune.report.display import PlainProgress

HERE = Path(__file__).parent
ROWS, TABLE, PLOT = (HERE / f"seeds.{kind}" for kind in ("json", "md", "svg"))
BATCH = 128
SEEDS = 3
LOUD = PlainProgress(Console(stderr=True))

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
    from edgeprune.devices.runner import runner_for
    from edgeprune.measure.benchmark import Benchmark

    with tempfile.TemporaryDirectory() as folder:
        inputs = (torch.randn(1, *splits.sample_shape),)
        benchmark = Benchmark(runner_for(targets.load("host")), inputs, Path(folder))
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
    rows = {**_rows(), key: {**row, **origin()}}
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))
    if any(name.startswith("sparsity/") for name in rows):
        draw(rows, PLOT)
    print(key, row, flush=True)


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
