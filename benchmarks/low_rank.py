"""What factoring does to each layer's milliseconds, and what the planner makes of it.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.low_rank layers    # ms of each layer, plain and factored
    python -m benchmarks.low_rank planner   # leave, prune or factor, at some budgets

ResNet-18 at 224 with random weights: time does not depend on them, but the ranks of
variational Bayes do, so there they are a quarter and a half of all. VGG-16-BN as
trained on CIFAR-10, and a ResNet-18 that is trained on CIFAR-10 at 64x64 for some
minutes, for the planner. What is there is not measured again. Writes `low_rank.json`
and `low_rank.md`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import torchvision
import typer
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

import edgeprune
from benchmarks.criteria import NETWORKS, VGG
from benchmarks.low_rank_page import BUDGETS, SHARES, TUNED, Row, table
from benchmarks.networks import cifar10, cifar_vgg16, torchvision_network
from benchmarks.origin import origin
from edgeprune import targets
from edgeprune.data import Reading, Splits, TensorBatches
from edgeprune.data.splits import Arrays, array_splits
from edgeprune.devices.runner import runner_for
from edgeprune.files import cache_folder
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import train
from edgeprune.graph.factored import Factored, factorable
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.measure.benchmark import Benchmark
from edgeprune.prune.low_rank import bayesian_ranks, factored
from edgeprune.records import Plan
from edgeprune.report.display import PlainProgress

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "low_rank.json", HERE / "low_rank.md"
EPOCHS = 1  # of distillation behind a plan
SAMPLES, TESTED = 20_000, 2000  # images of CIFAR-10 for ResNet-18
LOUD = PlainProgress(Console(stderr=True))

app = typer.Typer(help=__doc__, no_args_is_help=True)


def _resnet18_cifar() -> tuple[tuple[nn.Module, Inputs], Splits]:
    """Torchvision's, for CIFAR-10 at twice its size, trained here and kept."""
    held = cifar10(*VGG)
    x, y = (item[:SAMPLES] for item in held.train)
    test = (held.test[0][:TESTED], held.test[1][:TESTED])
    validation = (held.validation[0][:TESTED], held.validation[1][:TESTED])
    splits = array_splits(
        Arrays(
            "CIFAR-10, 64x64",
            _twice(x),
            y.numpy(),
            _twice(test[0]),
            test[1].numpy(),
            _twice(validation[0]),
            validation[1].numpy(),
        ),
        Reading(64),
    )
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    path = cache_folder() / "resnet18_cifar64.safetensors"
    if path.is_file():
        model.load_state_dict(load_file(path))
    else:
        recipe = TrainingConfig("baseline", 4, learning_rate=0.05, progress=LOUD)
        model, _ = train(model, splits, recipe)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = model.state_dict().items()
        save_file({name: value.contiguous() for name, value in kept}, path)
    return (model.eval(), (torch.randn(1, 3, 64, 64),)), splits


def _twice(x: torch.Tensor) -> NDArray[np.float32]:
    """Images at twice their size."""
    return nn.functional.interpolate(x, scale_factor=2.0).numpy()


TIMED: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    "ResNet-18, 224": lambda: torchvision_network("resnet18"),
    "VGG-16-BN, CIFAR-10": cifar_vgg16,
    "ResNet-18, CIFAR-10 at 64": lambda: _resnet18_cifar()[0],
}
RANDOM = "ResNet-18, 224"  # of these weights variational Bayes would keep nothing
PLANNED: dict[str, Callable[[], tuple[tuple[nn.Module, Inputs], Splits]]] = {
    "VGG-16-BN, CIFAR-10": NETWORKS["vgg16_cifar"],
    "ResNet-18, CIFAR-10 at 64": _resnet18_cifar,
}


@app.command()
def layers() -> None:
    """Time every layer in the network, plain and factored, from the same run."""
    for network, make in TIMED.items():
        model, inputs = make()
        graph = survey(model, inputs)
        names = factorable(model, graph)
        for way in (*SHARES, "bayes"):
            key = f"layers/{network}/{way}"
            if key in _rows() or (way == "bayes" and network in RANDOM):
                continue
            ranks = {name: _ranks(model.get_submodule(name), way) for name in names}
            changed = _cut(model, inputs, ranks)
            with tempfile.TemporaryDirectory() as folder:
                benchmark = Benchmark(
                    runner_for(targets.load("host")), inputs, Path(folder)
                )
                files = [
                    benchmark.export(item, name)
                    for item, name in ((model, "plain"), (changed, "factored"))
                ]
                timings = benchmark.compare(files)
                spent = [
                    {layer.name: layer.latency_ms for layer in benchmark.layers(file)}
                    for file in files
                ]
            each = {
                name: [spent[0].get(f"{name}.weight"), _within(spent[1], name)]
                for name in names
            }
            row = {
                "ms": [timing.median_ms for timing in timings],
                "macs": [file.cost.macs for file in files],
                "layers": {
                    name: {"ranks": ranks[name], "ms": each[name]} for name in names
                },
            }
            _keep(key, row)


@app.command()
def planner() -> None:
    """The solver's choice for each layer at a budget, with factoring and without."""
    for network, make in PLANNED.items():
        (model, inputs), splits = make()
        whole = splits.train
        assert isinstance(whole, TensorBatches)  # as both are made
        few = replace(whole, x=whole.x[:TUNED], y=whole.y[:TUNED])
        with tempfile.TemporaryDirectory() as folder:
            benchmark = Benchmark(
                runner_for(targets.load("host")), inputs, Path(folder)
            )
            whole_ms = benchmark.compare([benchmark.export(model, "whole")])[
                0
            ].median_ms
        for share in BUDGETS:
            for low_rank in ("no", "planner", "bayes"):
                key = f"planner/{network}/{share}/{low_rank}"
                if key in _rows():
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    done = edgeprune.compress(
                        model,
                        (few, splits.validation, splits.test),
                        budget=share * whole_ms,
                        low_rank=low_rank,
                        reconstruct=False,
                        epochs=EPOCHS,
                        accuracy_floor=0.0,
                        out=Path(folder) / "run",
                        progress=LOUD,
                    )
                _keep(key, _run(done, model) | {"whole_ms": whole_ms})


def _ranks(layer: nn.Module, way: str) -> list[int]:
    """(Read, made), or one for a matrix."""
    shape = layer.weight.shape
    if way == "bayes":
        return [max(4, rank) for rank in bayesian_ranks(layer)]
    spatial = layer.weight[0, 0].numel() > 1
    sides = [shape[1], shape[0]] if spatial else [min(shape[:2])]
    return [max(4, round(SHARES[way] * side)) for side in sides]


def _cut(model: nn.Module, inputs: Inputs, ranks: Mapping[str, list[int]]) -> nn.Module:
    """Every layer factored, with so many ranks."""
    whole = factored(model, ranks)
    graph = survey(whole, inputs)
    kept: dict[str, tuple[int, ...]] = {}
    for name, counts in ranks.items():
        for part, count in zip(("first", "core"), counts, strict=False):
            group = graph.group(f"{name}.{part}")
            kept[group.name] = tuple(range(min(count, group.size)))
    return apply(whole, graph, Plan(kept))


def _within(spent: Mapping[str, float | None], layer: str) -> float:
    return sum(ms or 0.0 for name, ms in spent.items() if name.startswith(f"{layer}."))


def _run(done: Any, model: nn.Module) -> Row:
    report = done.report
    after = {layer.name: layer.latency_ms for layer in report.result.layers}
    found: Row = {}
    for layer in report.baseline.layers:
        name = layer.name.removesuffix(".weight")
        try:
            module = done.model.get_submodule(name)
        except AttributeError:
            continue  # in a block that was left out
        is_factored = isinstance(module, Factored)
        found[name] = {
            "before": list(model.get_submodule(name).weight.shape[:2]),
            "after": [list(part.shape[:2]) for part in _weights(module)],
            "choice": "factored" if is_factored else "pruned or left",
            "ms": [
                layer.latency_ms,
                _within(after, name) if is_factored else after.get(layer.name),
            ],
        }
    return {
        "status": report.status,
        "ms": [report.baseline.latency_ms, report.result.latency_ms],
        "macs": [report.baseline.macs, report.result.macs],
        "before_training": report.steps[-1].accuracy_before_training,
        "test": [report.baseline.test_accuracy, report.result.test_accuracy],
        "seconds": report.seconds,
        "layers": found,
    }


def _weights(module: nn.Module) -> list[torch.Tensor]:
    return [item for name, item in module.named_parameters() if name.endswith("weight")]


def _rows() -> Row:
    return json.loads(ROWS.read_text()) if ROWS.is_file() else {}


def _keep(key: str, row: Row) -> None:
    rows = {**_rows(), key: {**row, **origin()}}
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows, TIMED, PLANNED))
    print(key, {name: value for name, value in row.items() if name != "layers"})


if __name__ == "__main__":
    app()
