"""What peers make of a network, and how any pruned network is judged.

Torch-Pruning ranks all channels together and keeps widths in steps; uniform pruning
takes the same share of every group.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from benchmarks.networks import Cifar10
from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import Plan
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels

STEPS, STEP_SIZE, BATCH = 15, 0.01, 128  # of the short training
SAMPLES = 512  # whose gradients judge channels, as in edgeprune
TEST_IMAGES = 4000  # the first ones: half a point of accuracy is noise
Row = dict[str, Any]
Peer = Callable[[nn.Module, ChannelGraph, float, Cifar10], nn.Module]


def uniform(
    model: nn.Module, graph: ChannelGraph, ratio: float, _: Cifar10
) -> nn.Module:
    """The same share of every group, the smallest L1 norms first."""
    context = Context(model, graph)
    scores = comparable_scores(score_channels("l1", context), graph)
    kept = {}
    for group in graph.groups:
        width = max(1, round(group.size * (1 - ratio)))
        kept[group.name] = group.best(scores[group.name], width)
    return apply(model, graph, Plan(kept))


def torch_pruning(kind: str, round_to: int, *, together: bool = True) -> Peer:
    """Torch-Pruning, widths in steps; ranks all together or layer by layer."""

    def prune(
        original: nn.Module, graph: ChannelGraph, ratio: float, data: Cifar10
    ) -> nn.Module:
        model = copy.deepcopy(original)
        last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
        pruner = tp.pruner.BasePruner(
            model,
            graph.inputs[0],
            IMPORTANCES[kind](),
            global_pruning=together,
            pruning_ratio=ratio,
            round_to=round_to,
            ignored_layers=last,
        )
        x, y = (part[:SAMPLES] for part in data.calibration)
        functional.cross_entropy(model(x), y).backward()  # Taylor reads gradients
        pruner.step()
        return model.eval()

    return prune


IMPORTANCES: dict[str, Callable[[], Any]] = {
    "L1": partial(tp.importance.GroupMagnitudeImportance, p=1),
    "Taylor": tp.importance.GroupTaylorImportance,
}
PEERS: dict[str, Peer] = {
    "uniform": uniform,
    **{
        f"Torch-Pruning, {kind}, {step}": torch_pruning(kind, step)
        for kind, step in (("L1", 8), ("L1", 16), ("Taylor", 16))
    },
}


def judged_model(model: nn.Module, original: nn.Module, data: Cifar10) -> Row:
    """Accuracies without and with the same help; what is left of the weights."""
    calibration = TensorBatches(*data.calibration, Reading(256))
    return {
        "before": accuracy(model, data),
        "restated": accuracy(restated(model, calibration), data),
        "after": accuracy(trained(model, original, data), data),
        "l1_kept": _l1(model) / _l1(original),
        "params": sum(value.numel() for value in model.parameters()),
    }


def _l1(model: nn.Module) -> float:
    return sum(
        float(layer.weight.detach().abs().sum())
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    )


def accuracy(model: nn.Module, data: Cifar10) -> float:
    """On the first test images."""
    x, y = (part[:TEST_IMAGES] for part in data.test)
    with evaluating(model), torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in x.split(500)])
    return float((found == y).float().mean())


def trained(model: nn.Module, original: nn.Module, data: Cifar10) -> nn.Module:
    """A few steps towards the original's outputs, on images without augmentation."""
    torch.manual_seed(0)
    student = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(student.parameters(), STEP_SIZE, 0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    x, _ = data.calibration
    for _ in range(STEPS):
        batch = x[torch.randint(len(x), (BATCH,))]
        with torch.no_grad():
            wanted = functional.softmax(original(batch), 1)
        loss = functional.cross_entropy(student(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return student.eval()
