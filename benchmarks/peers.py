"""What peers make of a network, and how any pruned network is judged.

Torch-Pruning and torch-kirigami rank all channels together and keep widths in steps;
onnxsim prunes the exported file, which is read into torch again to be judged like the
others; uniform pruning takes the same share of every group.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxsim
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional
from torch_kirigami import DependencyGraph
from torch_kirigami.pruning import (
    ChannelRatio,
    Granularity,
    Greedy,
    GroupMagnitude,
    Pruner,
    WeightTaylor,
)

from benchmarks.networks import Cifar10
from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.onnx_in.reading import load_onnx_model
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
        _with_gradients(model, data)
        pruner.step()
        return model.eval()

    return prune


def torch_kirigami(kind: str, round_to: int) -> Peer:
    """torch-kirigami, widths in steps; ranks all channels together."""

    def prune(
        original: nn.Module, graph: ChannelGraph, ratio: float, data: Cifar10
    ) -> nn.Module:
        model = copy.deepcopy(original)
        dependencies = DependencyGraph.build(model, args=graph.inputs)
        steps = Granularity(by_type={nn.Conv2d: round_to})
        pruner = Pruner(model, graph=dependencies, granularity=steps)
        _with_gradients(model, data)
        model, _ = pruner.prune(
            pruner.discover_candidates(),
            budget=ChannelRatio(ratio, scope="global"),
            strategy=Greedy(METRICS[kind]()),
        )
        return model.eval()

    return prune


def onnxsim_pruning(*, together: bool) -> Peer:
    """onnxsim, on the file, by L2 norms; ranks all together or layer by layer."""

    def prune(
        original: nn.Module, graph: ChannelGraph, ratio: float, _: Cifar10
    ) -> nn.Module:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            write_onnx(original, graph.inputs, path)
            smaller = onnxsim.apply_structured_pruning(
                str(path), sparsity=ratio, global_sparsity=together
            )
            onnx.save(smaller, path)
            return load_onnx_model(path, None).eval()

    return prune


def _with_gradients(model: nn.Module, data: Cifar10) -> None:
    """Of the loss, for scores that read them."""
    x, y = (part[:SAMPLES] for part in data.calibration)
    functional.cross_entropy(model(x), y).backward()


IMPORTANCES: dict[str, Callable[[], Any]] = {
    "L1": partial(tp.importance.GroupMagnitudeImportance, p=1),
    "Taylor": tp.importance.GroupTaylorImportance,
}
METRICS: dict[str, Callable[[], Any]] = {
    "L1": partial(GroupMagnitude, p=1),
    "Taylor": WeightTaylor,
}
PEERS: dict[str, Peer] = {
    "uniform": uniform,
    "Torch-Pruning, L1, 16": torch_pruning("L1", 16),
    "Torch-Pruning, Taylor, 16": torch_pruning("Taylor", 16),
    "torch-kirigami, L1, 16": torch_kirigami("L1", 16),
    "torch-kirigami, Taylor, 16": torch_kirigami("Taylor", 16),
    "onnxsim, L2": onnxsim_pruning(together=False),
    "onnxsim, L2, global": onnxsim_pruning(together=True),
}


def judged_model(model: nn.Module, original: nn.Module, data: Cifar10) -> Row:
    """Accuracies without and with the same help; what is left of the weights."""
    calibration = TensorBatches(*data.calibration, Reading(256))
    return {
        "before": accuracy(model, data),
        "restated": accuracy(restated(model, calibration), data),
        "after": accuracy(trained(model, original, data), data),
        "params": sum(value.numel() for value in model.parameters()),
    }


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
