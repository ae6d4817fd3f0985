"""Collects a layer's inputs and outputs at some positions as rows of matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.graph.labels import Shape
from edgeprune.graph.rules import operator_name
from edgeprune.reconstruct.layers import LINEAR, Layer


def drawn(
    shape: Shape, channels: int, count: int, generator: torch.Generator
) -> Tensor:
    """Positions of a batch, none of them twice.

    Args:
        shape: of a value, samples first.
        channels: its axis of them.
        count: of each sample, at most.

    Returns:
        The sample and the position in it, shape (rows, 2).
    """
    others = [size for axis, size in enumerate(shape) if axis not in (0, channels)]
    places = math.prod(others)
    count = min(count, places)
    found = [
        torch.randperm(places, generator=generator)[:count] for _ in range(shape[0])
    ]
    samples = torch.arange(shape[0]).repeat_interleave(count)
    return torch.stack([samples, torch.cat(found)], 1)


def made(value: Tensor, channels: int, at: Tensor) -> Tensor:
    """All channels of some positions, shape (rows, channels)."""
    flat = value.movedim(channels, 1).reshape(len(value), value.shape[channels], -1)
    return flat[at[:, 0], :, at[:, 1]]


def read(layer: Layer, value: Tensor, weight: Tensor, at: Tensor) -> Tensor:
    """Return the inputs that a layer sums over at some positions of its output.

    Args:
        value: what it is given.
        at: shape (rows, 2).

    Returns:
        Shape (rows, groups, elements of a filter).
    """
    if layer.weight is None:
        return made(value, 1, at)[..., None]
    if operator_name(layer.node) == LINEAR:
        return made(value, value.ndim - 1, at)[:, None]
    found = _patches(value, tuple(weight.shape[2:]), layer.arguments, at)
    return found.unflatten(1, (layer.arguments["groups"], -1)).flatten(2)


def _patches(
    x: Tensor, kernel: Shape, arguments: Mapping[str, Any], at: Tensor
) -> Tensor:
    """Shape (rows, channels, elements of the kernel)."""
    count = len(kernel)
    stride, dilation = (
        _each(arguments[name], count) for name in ("stride", "dilation")
    )
    sides = _padding(arguments["padding"], kernel, dilation)
    x = functional.pad(x, [side for pair in reversed(sides) for side in pair])
    lengths = x.shape[2:]
    reach = [far * (size - 1) for far, size in zip(dilation, kernel, strict=True)]
    places = [
        (length - far - 1) // step + 1
        for length, far, step in zip(lengths, reach, stride, strict=True)
    ]
    corner = torch.unravel_index(at[:, 1], places)
    flat = x.flatten(2)
    columns: list[Tensor] = []
    for element in product(*map(range, kernel)):
        index = torch.zeros_like(at[:, 1])
        for axis, offset in enumerate(element):
            here = corner[axis] * stride[axis] + offset * dilation[axis]
            index = index * lengths[axis] + here
        columns.append(flat[at[:, 0], :, index])
    return torch.stack(columns, -1)


def _each(value: Any, count: int) -> list[int]:
    """A number for each axis; one may stand for all."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * count if len(values) == 1 else values


def _padding(value: Any, kernel: Shape, dilation: list[int]) -> list[tuple[int, int]]:
    """Before and behind each axis; it may be given by name."""
    if value == "same":
        sums = [far * (size - 1) for far, size in zip(dilation, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in sums]
    sides = _each(0 if value == "valid" else value, len(kernel))
    return [(side, side) for side in sides]
