"""Layers with weights: incoming channels claim one axis, the others are produced."""

from __future__ import annotations

import numpy as np

from edgeprune.graph.labels import SILENT, Factor, LabelArray, Labels
from edgeprune.graph.rules.call import Call

UNREAD = "reads channels of fixed number, as of an input,"


def convolution(call: Call) -> Labels:
    """Input channels claim the weight's axis 1, its axis 0 makes the output's."""
    return _slide(call, "input", incoming=1, outgoing=0)


def transposed_convolution(call: Call) -> Labels:
    """As a convolution, with the weight's axes 0 and 1 exchanged."""
    return _slide(call, "input", incoming=0, outgoing=1)


def deformable_convolution(call: Call) -> Labels:
    """As a convolution; what it is told about offsets and masks has a fixed length."""
    for name in ("offset", "mask"):
        for factor in call[name].factors:
            call.freeze(factor, "offsets of a deformable convolution")
    return _slide(call, "input", incoming=1, outgoing=0)


def linear(call: Call) -> Labels:
    """Input channels claim the weight's axis 1, its axis 0 makes the last axis."""
    tensor: Labels = call["input"]
    last = len(tensor.shape) - 1
    _contract(call, _channels(call, tensor, last), axis=1)
    others = [factor for factor in tensor.factors if last not in factor.axes]
    return Labels.of(call.shape, [*_produced(call, axis=0, onto=last), *others])


def recurrent(call: Call) -> Labels | tuple[Labels, ...]:
    """LSTM, GRU, RNN: the first layer reads channels, the hidden width stays."""
    tensor: Labels = call["input"]
    last = len(tensor.shape) - 1
    found = _channels(call, tensor, last)
    each = 4 if call["has_biases"] else 2
    readers = {0, each} if call["bidirectional"] else {0}
    for index, weight in enumerate(call["params"]):
        for factor in weight.factors:
            if found is not None and index in readers and factor.axes == frozenset([1]):
                call.claim(factor, "input")
                call.constraints.unite(found, factor.labels.ravel())
            else:
                call.freeze(factor, "width of a recurrent layer")
    results = call.node.meta["val"]
    return tuple(Labels(tuple(result.shape)) for result in results)


def embedding(call: Call) -> Labels:
    """A table's second axis becomes the last axis of what is looked up."""
    made: list[Factor] = []
    call.constraints.freeze_all(call["indices"], SILENT)
    for factor in call["weight"].factors:
        if factor.axes == frozenset([1]):
            labels = factor.labels.ravel()
            made.append(Factor.lying(labels, len(call.shape), len(call.shape) - 1))
        else:
            call.constraints.freeze(factor, SILENT)
    return Labels(call.shape, tuple(made))


def _slide(call: Call, name: str, incoming: int, outgoing: int) -> Labels:
    """A kernel slid over an input, densely or in groups."""
    inputs, beside = _slid_over(call, call[name])
    for factor in call["weight"].factors:
        if factor.axes - {0, 1}:
            call.constraints.freeze(factor, SILENT)  # positions inside a kernel
    groups, weight = call.get("groups", 1), call["weight"]
    each = (weight.shape[0] // groups, weight.shape[1])
    way = "dense" if groups == 1 else "whole" if max(each) <= groups else "offset"
    match call.constraints.choose(call.name, way):
        case "dense":
            _contract(call, inputs, incoming)
            made = _produced(call, outgoing, onto=1)
            return Labels(call.shape, (*made, *beside))
        case "whole":
            return _whole_groups(call, inputs, weight.shape[1] if outgoing else each[0])
        case _:
            return _same_offsets(call, inputs, incoming, outgoing)


def _slid_over(call: Call, tensor: Labels) -> tuple[LabelArray | None, list[Factor]]:
    """Channels on axis 1 of a convolution's input, and those that it is slid along.

    A kernel slid along channels mixes neighbours: what is left has others.
    """
    along: list[Factor] = []
    for factor in tensor.factors:
        if factor.axes & {0, 1}:
            continue
        same = all(tensor.shape[axis] == call.shape[axis] for axis in factor.axes)
        if same and len(tensor.shape) == len(call.shape) and call.get("groups", 1) == 1:
            call.approximate(factor, "a kernel is slid along them")
            along.append(factor)
        else:
            call.freeze(factor, "channels along an axis that is slid over")
    axis = len(tensor.shape) - len(call.shape) + 1
    return _channels(call, tensor, axis), along


def _channels(call: Call, tensor: Labels, axis: int) -> LabelArray | None:
    """The channels along one axis, shape (n,); None where there are none."""
    found = [call.constraints.confine(factor, axis) for factor in tensor.along(axis)]
    for other in found[1:]:
        call.constraints.unite(found[0], other)
    return found[0] if found else None


def _contract(call: Call, inputs: LabelArray | None, axis: int) -> None:
    """Unite incoming channels with the weight's axis that sums over them."""
    for factor in call["weight"].along(axis):
        call.claim(factor, "input")
        call.sum_over(factor)
        if inputs is None:
            call.freeze(factor, UNREAD)
        else:
            call.constraints.unite(inputs, call.constraints.confine(factor, axis))


def _produced(call: Call, axis: int, onto: int) -> tuple[Factor, ...]:
    """The weight's output channels, united with the bias, along an axis."""
    made = [
        Factor.lying(call.constraints.confine(factor, axis), len(call.shape), onto)
        for factor in call["weight"].along(axis)
    ]
    for factor in call["weight"].along(axis):
        call.claim(factor, "output")
    return _biased(call, made)


def _biased(call: Call, made: list[Factor]) -> tuple[Factor, ...]:
    bias: Labels | None = call.get("bias")
    for factor in made:
        for other in bias.factors if bias is not None else ():
            call.constraints.unite(factor.labels.ravel(), other.labels.ravel())
    return tuple(made)


def _same_offsets(
    call: Call, inputs: LabelArray | None, incoming: int, outgoing: int
) -> Labels:
    """Every group loses the channels at the same offsets; the groups stay."""
    constraints, groups, weight = call.constraints, call["groups"], call["weight"]
    inputs_each = weight.shape[incoming] // (groups if incoming == 0 else 1)
    outputs_each = weight.shape[outgoing] // (groups if outgoing == 0 else 1)
    sources = None if inputs is None else inputs.reshape(groups, inputs_each)
    offsets = None if sources is None else constraints.tie(sources, 0)
    for factor in weight.along(incoming):
        labels = constraints.confine(factor, incoming).reshape(-1, inputs_each)
        call.claim(factor, "input")
        if offsets is None:
            call.freeze(factor, UNREAD)
        else:
            constraints.unite(offsets, labels)
    made: list[Factor] = []
    for factor in weight.along(outgoing):
        labels = constraints.confine(factor, outgoing).reshape(-1, outputs_each)
        call.claim(factor, "output")
        tied = np.tile(constraints.tie(labels, 0).ravel(), groups)
        made.append(Factor.lying(tied, len(call.shape), 1))
    return Labels(call.shape, _biased(call, made))


def _whole_groups(call: Call, inputs: LabelArray | None, outputs_each: int) -> Labels:
    """Whole groups go: the weight's axis 0 is cut into them, axis 1 lies inside one.

    Depthwise convolution is this with one channel in each group.
    """
    constraints, groups, weight = call.constraints, call["groups"], call["weight"]
    sources = None if inputs is None else inputs.reshape(groups, -1)
    for factor in weight.along(1):
        constraints.freeze(factor, SILENT)
    made: list[Factor] = []
    for factor in weight.along(0):
        call.claim(factor, "output")
        labels = constraints.tie(constraints.confine(factor, 0).reshape(groups, -1), 1)
        if sources is None:
            call.freeze(factor, UNREAD)
        else:
            constraints.unite(constraints.tie(sources, 1), labels)
        for size in call.given("groups"):
            call.sized(Factor(labels, frozenset([0])), 0, size)
        spread = np.repeat(labels.ravel(), outputs_each)
        made.append(Factor.lying(spread, len(call.shape), 1))
    return Labels(call.shape, _biased(call, made))
