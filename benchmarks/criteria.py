"""All criteria side by side: accuracy at equal time, and what scoring costs.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.criteria rank    # accuracy at once, and after fine-tuning
    python -m benchmarks.criteria cost    # seconds and memory, ResNet-50 at 224

`rank` gives every criterion the same widths, so that all networks of a row take the
same time; only which channels stay differs. The widths are the planner's for 0.6 of
the network's own time (blocks stay), by the losses that were measured with each
criterion's ranking, averaged over the criteria (over four of them for the two largest
networks). Each seed draws other calibration
samples, and another training set of 50 batches of 64 for one epoch of fine-tuning with
distillation. `cost` runs each criterion in a process of its own. What is there is not
measured again. Writes `criteria.json` and `criteria.md`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer
from torch import nn
from torch.nn import functional

from benchmarks.criteria_page import COST_SAMPLES, STEPS, Row, table
from benchmarks.networks import (
    Cifar10,
    cifar10,
    cifar_resnet20,
    cifar_resnet56,
    cifar_vgg16,
    fashion_mnist,
    signals,
    small_conv,
    torchvision_network,
)
from benchmarks.origin import origin
from benchmarks.setting import Setting, search, setting
from edgeprune.data import Reading, Splits, TensorBatches
from edgeprune.data.splits import array_splits
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import evaluate, train
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.prune.loss import losses_of
from edgeprune.records import (
    Budget,
    GroupLoss,
    Plan,
    Sensitivity,
)
from edgeprune.score.context import Context
from edgeprune.score.criteria import CRITERIA, comparable_scores, score_channels
from edgeprune.score.sensitivity import measure_sensitivity

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "criteria.json", HERE / "criteria.md"
SHARE = 0.6  # of the network's own time
SEEDS = 3
BATCH = 64
JUDGED = 1000, 4000  # validation and test samples, the first ones
LARGE = {"vgg16_cifar": (500, 2000), "resnet56_cifar": (500, 2000)}  # fewer of them
FEW = ("l1", "taylor", "pca", "random")  # criteria that set the widths of these
SCORED = 512  # samples that a criterion reads
NEVER = 1e6  # loss of leaving out a block

app = typer.Typer(help=__doc__, no_args_is_help=True)
Names = Annotated[list[str] | None, typer.Argument()]


def _cifar_splits(mean: tuple[float, ...], std: tuple[float, ...]) -> Splits:
    data: Cifar10 = cifar10(mean, std)
    reading = Reading(BATCH)
    count = len(data.train[1])
    return Splits(
        "CIFAR-10",
        TensorBatches(*data.train, reading, torch.Generator().manual_seed(0)),
        TensorBatches(*data.validation, reading),
        TensorBatches(*data.test, reading),
        TensorBatches(*data.train, reading),
        10,
        (3, 32, 32),
        (count, len(data.validation[1]), len(data.test[1])),
    )


RESNET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGG = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
Loaded = tuple[tuple[nn.Module, Inputs], Splits]


def _fashion() -> Loaded:
    splits = array_splits(fashion_mnist(), Reading(BATCH))
    return small_conv(splits, 2), splits


def _signals() -> Loaded:
    splits = array_splits(signals(), Reading(16))
    return small_conv(splits, 40), splits


NETWORKS: dict[str, Callable[[], Loaded]] = {
    "resnet20_cifar": lambda: (cifar_resnet20(), _cifar_splits(*RESNET)),
    "small_fashion": _fashion,
    "small_signals": _signals,
    "vgg16_cifar": lambda: (cifar_vgg16(), _cifar_splits(*VGG)),
    "resnet56_cifar": lambda: (cifar_resnet56(), _cifar_splits(*RESNET)),
}


@app.command()
def rank(names: Names = None, *, seeds: int = SEEDS) -> None:
    """Accuracy at equal time, at once and after equal fine-tuning."""
    rows = _rows()
    for name in names or NETWORKS:
        (model, inputs), splits = NETWORKS[name]()
        graph = survey(model, inputs)
        if name not in rows["networks"]:
            with tempfile.TemporaryDirectory() as folder:
                held = setting(model, inputs, folder)
                criteria = FEW if name in LARGE else tuple(CRITERIA)
                rows["networks"][name] = _common(held, splits, criteria)
            found = {"accuracy": evaluate(model, splits.test), **origin()}
            rows["networks"][name] |= found
            _write(rows)
        widths = rows["networks"][name]["widths"]
        for seed in range(seeds):
            for criterion in CRITERIA:
                key = f"{name} {criterion} {seed}"
                if key in rows["rank"]:
                    continue
                context = Context(model, graph, _drawn(splits, seed), SCORED, seed=seed)
                scores = score_channels(criterion, context)
                held = {item.name: item.scores for item in scores.groups}
                kept = {
                    group.name: group.best(held[group.name], widths[group.name])
                    for group in graph.groups
                }
                pruned = apply(model, graph, Plan(kept))
                rows["rank"][key] = {
                    "seconds": scores.seconds,
                    **_accuracies(pruned, model, splits, (seed, name)),
                    **origin(),
                }
                print(key, rows["rank"][key], flush=True)
                _write(rows)
    _write(rows)


def _drawn(splits: Splits, seed: int) -> TensorBatches:
    """Training samples in an order of the seed's."""
    held = splits.calibration
    assert isinstance(held, TensorBatches)
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))
    order = order[: max(SCORED, STEPS * BATCH)]
    return TensorBatches(held.x[order], held.y[order], held.reading)


def _common(held: Setting, splits: Splits, criteria: tuple[str, ...]) -> Row:
    """Widths that favour no criterion, in 0.6 of the time."""
    measured: dict[tuple[str, int], list[float]] = {}
    context = Context(held.model, held.graph, _drawn(splits, 99), SCORED)
    for criterion in criteria:
        scores = score_channels(criterion, context)
        for item in measure_sensitivity(context, scores, []).groups:
            measured.setdefault((item.name, item.width), []).append(item.loss)
    losses = tuple(
        GroupLoss(*place, statistics.fmean(found)) for place, found in measured.items()
    )
    never = {block.name: NEVER for block in held.costs.blocks}
    ranked = comparable_scores(score_channels("random", context), held.graph)
    loss = losses_of(ranked, Sensitivity(losses, never, SCORED, 0.0))
    limit = Budget(latency_ratio=SHARE)
    found, _ = search(held, ranked, loss, limit)
    sizes = {group.name: group.size for group in held.graph.groups}
    kept = {name: len(channels) for name, channels in found.plan.kept.items()}
    return {
        "widths": {**sizes, **kept},
        "share": found.attempt.latency_ratio,
        "ms": found.attempt.latency_ms,
        "kept_share": found.attempt.kept_share,
    }


def _accuracies(
    pruned: nn.Module, teacher: nn.Module, splits: Splits, place: tuple[int, str]
) -> Row:
    """On the first test samples, at once and after a short training."""
    seed, name = place
    judged = LARGE.get(name, JUDGED)
    batches = _drawn(splits, seed)
    order = torch.Generator().manual_seed(seed)
    some = replace(
        splits,
        train=TensorBatches(batches.x, batches.y, batches.reading, order),
        validation=_first(splits.validation, judged[0]),
        test=_first(splits.test, judged[1]),
        sizes=(len(batches), *judged),
    )
    before = evaluate(pruned, some.test)
    recipe = TrainingConfig("finetune", 1, seed=seed, teacher=teacher)
    trained, _ = train(pruned, some, recipe)
    return {"before": before, "after": evaluate(trained, some.test)}


def _first(batches: Any, count: int) -> TensorBatches:
    return TensorBatches(batches.x[:count], batches.y[:count], batches.reading)


@app.command()
def cost() -> None:
    """Seconds to score, each criterion in a process of its own, and its memory."""
    rows = _rows()
    for name in ("one epoch of training", *CRITERIA):
        for samples in (COST_SAMPLES, SCORED):
            key = f"{name} {samples}"
            if key in rows["cost"] or (samples == SCORED and not name.endswith("vip")):
                continue
            command = [sys.executable, "-m", "benchmarks.criteria", "one", name]
            done = subprocess.run(
                [*command, str(samples)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            rows["cost"][key] = {**found, **origin()}
            print(key, rows["cost"][key], flush=True)
            _write(rows)
    _write(rows)


@app.command(hidden=True)
def one(name: str, samples: int) -> None:
    """Score ResNet-50 at 224 with one criterion; prints what it took."""
    model, inputs = torchvision_network("resnet50")
    x = torch.randn(samples, 3, 224, 224)
    y = torch.randint(0, 1000, (samples,))
    batches = TensorBatches(x, y, Reading(32))
    graph = survey(model, inputs)
    start = time.perf_counter()
    if name in CRITERIA:
        score_channels(name, Context(model, graph, batches, samples))
    else:
        _one_epoch(model, batches)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak}))


def _one_epoch(model: nn.Module, batches: TensorBatches) -> None:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    for x, y in batches:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def _rows() -> Row:
    empty: Row = {"networks": {}, "rank": {}, "cost": {}}
    return json.loads(ROWS.read_text()) if ROWS.is_file() else empty


def _write(rows: Row) -> None:
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))


if __name__ == "__main__":
    app()
