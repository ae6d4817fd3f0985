"""Factored layers: two or three in place of a convolution or linear layer.

A k x k convolution becomes 1 x 1, k x k, 1 x 1; a 1 x 1 convolution or a linear layer
becomes two of its kind. At full rank they compute the same. The ranks are channels
like any others, so that they are chosen and cut as these are.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import copy_numbers_, running

FIRST, CORE, LAST = "first", "core", "last"
LEAST = 16  # channels on either side: nothing is to be won with fewer
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
MOVES = ("stride", "padding", "dilation", "padding_mode")


class Factored(nn.Sequential):
    """One layer as a product of `first`, perhaps `core`, and `last`.

    It has the numbers of the layer that code may read, such as `out_channels`.
    """


def factorable(model: nn.Module, graph: ChannelGraph) -> tuple[str, ...]:
    """The layers that could be factored, in network order.

    Dense convolutions and linear layers that are at least 16 wide on both sides, whose
    weight nothing else uses or reads.
    """
    parts = [path for path, item in model.named_modules() if isinstance(item, Factored)]
    fitting = [
        path
        for path, layer in model.named_modules()
        if _fits(layer)
        and graph.alone(path)
        and not any(path.startswith(f"{part}.") for part in parts)
    ]
    return tuple(running(model, graph.inputs, fitting, structure_of))


def is_spatial(layer: nn.Module) -> bool:
    """Whether a layer is a convolution over more than one position."""
    return isinstance(layer, CONVOLUTIONS) and math.prod(layer.kernel_size) > 1


def structure_of(layer: nn.Module) -> Factored:
    """A layer's factored form at full rank, its weights not set."""
    weight, bias = layer.weight, getattr(layer, "bias", None) is not None
    assert isinstance(weight, Tensor)  # of every layer that fits
    like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    made, read = weight.shape[:2]
    area = math.prod(weight.shape[2:])
    inner, outer = min(read, made * area), min(made, read * area)
    parts: dict[str, nn.Module] = {}
    if isinstance(layer, nn.Linear):
        parts[FIRST] = nn.Linear(read, inner, bias=False, **like)
        parts[LAST] = nn.Linear(inner, made, bias=bias, **like)
        return _like(layer, parts)
    assert isinstance(layer, CONVOLUTIONS)
    make: Any = type(layer)
    moved = {name: getattr(layer, name) for name in MOVES}
    if is_spatial(layer):
        size = layer.kernel_size
        parts[FIRST] = make(read, inner, 1, bias=False, **like)
        parts[CORE] = make(inner, outer, size, bias=False, **moved, **like)
        parts[LAST] = make(outer, made, 1, bias=bias, **like)
    else:
        parts[FIRST] = make(read, inner, 1, bias=False, **moved, **like)
        parts[LAST] = make(inner, made, 1, bias=bias, **like)
    return _like(layer, parts)


def _like(layer: nn.Module, parts: dict[str, nn.Module]) -> Factored:
    found = Factored(OrderedDict(parts))
    copy_numbers_(layer, found)
    return found


def _fits(layer: nn.Module) -> bool:
    if type(layer) is not nn.Linear and type(layer) not in CONVOLUTIONS:
        return False
    weight = layer.weight
    assert isinstance(weight, Tensor)  # as of all such layers
    return getattr(layer, "groups", 1) == 1 and min(weight.shape[:2]) >= LEAST
