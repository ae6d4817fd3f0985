"""Operators that pick positions by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgeprune.graph.labels import SILENT, Factor, Labels, Shape, meet
from edgeprune.graph.rules.call import Call, bound_arguments


def select(call: Call) -> Labels:
    """One position of an axis; one axis of a cut loses no positions of its own."""
    tensor = call.tensor
    axis = call.axis(tensor)
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        labels = factor.labels
        if factor.axes == frozenset([axis]):
            call.freeze(factor, "indexed by number")
        elif axis in factor.axes:
            labels = call.constraints.tie(labels, axis)
        moved = [other - (other > axis) for other in factor.axes - {axis}]
        factors.append(factor.relaid(np.asarray(labels.take(0, axis)), moved))
    return Labels.of(call.shape, factors)


def unbind(call: Call) -> tuple[Labels, ...]:
    """Every position of an axis by itself."""
    tensor = call.tensor
    return (select(call),) * tensor.shape[call.axis(tensor)]


@dataclass(frozen=True)
class Picked:
    """The axes of a tensor that are indexed by tensors of numbers.

    Attributes:
        shape: of what is picked.
        places: for every other axis its place in the result.
    """

    axes: frozenset[int]
    shape: Shape
    places: dict[int, int]

    @classmethod
    def of(cls, call: Call, shape: Shape) -> Picked:
        """Neighbouring indices put what they pick in their place, others in front."""
        axes: list[int] = []
        numbers: list[Shape] = []
        axis = 0
        for node in bound_arguments(call.node)["indices"]:
            if node is None:
                axis += 1
                continue
            value = node.meta["val"]
            mask = value.dtype in (torch.bool, torch.uint8)
            count = value.ndim if mask else 1
            axes += range(axis, axis + count)
            numbers.append((1,) if mask else tuple(value.shape))
            axis += count
        made = np.broadcast_shapes(*numbers)
        rest = [axis for axis in range(len(shape)) if axis not in axes]
        start = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
        places = {
            axis: at + (len(made) if at >= start else 0) for at, axis in enumerate(rest)
        }
        lengths = [1] * (len(made) + len(rest))
        lengths[start : start + len(made)] = made
        for axis, place in places.items():
            lengths[place] = shape[axis]
        return cls(frozenset(axes), tuple(lengths), places)


def index(call: Call) -> Labels:
    """Positions picked by tensors of numbers; other axes keep their channels."""
    tensor: Labels = call["self"]
    for item in call["indices"]:
        call.constraints.freeze_all(item or Labels(()), SILENT)
    picked = Picked.of(call, tensor.shape)
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        labels = factor.labels
        if factor.axes <= picked.axes:
            call.freeze(factor, "indexed by number")
            continue
        for axis in factor.axes & picked.axes:
            labels = call.constraints.tie(labels, axis)
        shape = [1] * len(picked.shape)
        for axis, place in picked.places.items():
            shape[place] = labels.shape[axis]
        kept = [picked.places[axis] for axis in factor.axes - picked.axes]
        factors.append(factor.relaid(labels.reshape(shape), kept))
    return Labels.of(picked.shape, factors)


def index_put(call: Call) -> Labels:
    """Values put at positions that tensors of numbers pick."""
    meet(call.constraints, [index(call), call["values"]], call.where)
    return call["self"]


def index_select(call: Call) -> Labels:
    """Positions of one axis picked by numbers; other axes keep their channels."""
    tensor, axis = call.tensor, call.axis(call.tensor)
    if tensor.along(axis):
        return call.refuse()
    return Labels(call.shape, tensor.factors)
