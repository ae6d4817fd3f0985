"""The sizes that torch's own layers write down beside their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from edgeprune.graph.forward import evaluating
from edgeprune.graph.labels import Shape
from edgeprune.graph.model_copy import copied
from edgeprune.graph.trace import Inputs

SIZES = ("in_channels", "out_channels", "in_features", "out_features")

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def layer_numbers(layer: nn.Module, shape: Shape, groups: int) -> dict[str, int]:
    """The sizes that one of torch's layers holds when its weight has a given shape.

    Args:
        shape: of the weight; of the running mean where a norm has no weight.
        groups: of a convolution.
    """
    if isinstance(layer, CONVOLUTIONS):
        outputs, inputs = shape[0], shape[1] * groups
        if layer.transposed:
            outputs, inputs = shape[1] * groups, shape[0]
        return {"out_channels": outputs, "in_channels": inputs}
    if isinstance(layer, nn.Linear):
        return {"out_features": shape[0], "in_features": shape[1]}
    if isinstance(layer, nn.Embedding):
        return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    if isinstance(layer, nn.GroupNorm):
        return {"num_channels": shape[0]}
    if isinstance(layer, NORMS):
        return {"num_features": shape[0]}
    if isinstance(layer, nn.PReLU):
        return {"num_parameters": shape[0]}
    return {}


def weights_of(model: nn.Module, *kinds: type[nn.Module]) -> list[str]:
    """The weights of all convolutions and linear layers, or of some kinds of them."""
    kinds = kinds or (*CONVOLUTIONS, nn.Linear)
    parameters = dict(model.named_parameters())
    names = [
        f"{path}.weight" if path else "weight"
        for path, layer in model.named_modules()
        if isinstance(layer, kinds)
    ]
    return [name for name in names if name in parameters]


def zero_share(model: nn.Module) -> float:
    """The share of zeros in the weights of all convolutions and linear layers, 0..1."""
    tensors = dict(model.named_parameters())
    weights = [tensors[name] for name in weights_of(model)]
    left = sum(int(weight.count_nonzero()) for weight in weights)
    return 1 - left / max(sum(weight.numel() for weight in weights), 1)


def replace_(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another, under every name that one has."""
    gone = model.get_submodule(path)
    every = model.named_modules(remove_duplicate=False)
    for found in [other for other, held in every if held is gone]:
        holder, _, name = found.rpartition(".")
        setattr(model.get_submodule(holder), name, module)


def copy_numbers_(layer: nn.Module, wrapper: nn.Module) -> None:
    """Give what stands for a layer the layer's sizes, for code that reads them."""
    for name in SIZES:
        if isinstance(number := getattr(layer, name, None), int):
            setattr(wrapper, name, number)


def running(
    model: nn.Module,
    inputs: Inputs,
    paths: Sequence[str],
    stand_in: Callable[[nn.Module], nn.Module],
) -> list[str]:
    """Find the layers, among some, that a stand-in can replace: the model still runs.

    Code may read a weight that what stands in for a layer does not have.
    """

    def runs(some: Sequence[str]) -> bool:
        changed = copied(model)
        for path in some:
            replace_(changed, path, stand_in(changed.get_submodule(path)))
        try:
            with evaluating(changed), torch.no_grad():
                changed(*inputs)
        except Exception:  # noqa: BLE001  the user's code may fail in any way
            return False
        return True

    return bisected(paths, runs)


def bisected(names: Sequence[str], works: Callable[[Sequence[str]], bool]) -> list[str]:
    """Those of some names that work: all together, or else each half by itself."""
    if not names or works(names):
        return list(names)
    if len(names) == 1:
        return []
    middle = len(names) // 2
    halves = names[:middle], names[middle:]
    return [name for half in halves for name in bisected(half, works)]
