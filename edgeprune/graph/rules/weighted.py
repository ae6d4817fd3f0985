"""Layers with weights: incoming channels claim one axis, the others are produced."""

from __future__ import annotations

from edgeprune.graph.labels import SILENT, Factor, LabelArray, Labels, meet
from edgeprune.graph.rules.call import Call


def convolution(call: Call) -> Labels:
    """Input channels claim the weight's axis 1, its axis 0 makes the output's."""
    weight: Labels = call["weight"]
    inputs = _slid_over(call)
    _ignore_kernel(call, weight)
    if _way(call) == "dense":
        _contract(call, inputs, axis=1)
    else:
        _keep_groups_alike(call, inputs, call["groups"])
    return Labels(call.shape, _produced(call, axis=0, onto=1))


def transposed_convolution(call: Call) -> Labels:
    """As a convolution, with the weight's axes 0 and 1 exchanged."""
    if call.get("groups", 1) != 1:
        return call.refuse()
    _ignore_kernel(call, call["weight"])
    _contract(call, _slid_over(call), axis=0)
    return Labels(call.shape, _produced(call, axis=1, onto=1))


def linear(call: Call) -> Labels:
    """Input channels claim the weight's axis 1, its axis 0 makes the last axis."""
    tensor: Labels = call["input"]
    last = len(tensor.shape) - 1
    _contract(call, _channels(call, tensor, last), axis=1)
    others = [
        factor.relaid(call.ledger.tie(factor.labels, last), factor.axes - {last})
        for factor in tensor.factors
        if factor.axes != frozenset([last])
    ]
    return Labels.of(call.shape, [*_produced(call, axis=0, onto=last), *others])


def batch_norm(call: Call) -> Labels:
    """Scale, shift and running statistics go with the channel on axis 1."""
    names = ("weight", "bias", "running_mean", "running_var")
    held = [call.get(name) for name in names]
    ndim = len(call["input"].shape)
    vectors = [_per_channel(item, ndim) for item in held if item is not None]
    return meet(call.ledger, [call["input"], *vectors], call.where)


def prelu(call: Call) -> Labels:
    """One slope for all, or one for each channel on axis 1."""
    tensor, slope = call.tensors()
    operands = [tensor, _per_channel(slope, len(tensor.shape))]
    return meet(call.ledger, operands, call.where)


def _per_channel(vector: Labels, ndim: int) -> Labels:
    """A vector's labels where a channel's value lies for broadcasting: on axis 1."""
    ones = (1,) * max(ndim - 2, 0)
    factors = tuple(
        Factor(factor.labels.reshape(-1, *ones), factor.axes)
        for factor in vector.factors
    )
    return Labels(vector.shape + ones, factors)


def _slid_over(call: Call) -> LabelArray | None:
    """Channels on axis 1 of a convolution's input; along other axes none may be."""
    for factor in call["input"].factors:
        if 1 not in factor.axes:
            call.freeze(factor, "channels along an axis that is slid over")
    return _channels(call, call["input"], axis=1)


def _channels(call: Call, tensor: Labels, axis: int) -> LabelArray | None:
    """The channels along one axis, shape (n,); None where there are none."""
    found = [call.ledger.confine(factor, axis) for factor in tensor.along(axis)]
    for other in found[1:]:
        call.ledger.unite(found[0], other)
    return found[0] if found else None


def _contract(call: Call, inputs: LabelArray | None, axis: int) -> None:
    """Unite incoming channels with the weight's axis that sums over them."""
    call.claim("weight", axis, "input")
    for factor in call["weight"].along(axis):
        if inputs is None:
            call.freeze(factor, "reads channels of fixed number, as of an input,")
        else:
            call.ledger.unite(inputs, factor.labels.ravel())


def _produced(call: Call, axis: int, onto: int) -> tuple[Factor, ...]:
    """The weight's output channels, united with the bias, along an axis."""
    call.claim("weight", axis, "output")
    bias: Labels | None = call.get("bias")
    made: list[Factor] = []
    for factor in call["weight"].along(axis):
        labels = factor.labels.ravel()
        for other in bias.factors if bias is not None else ():
            call.ledger.unite(labels, other.labels.ravel())
        made.append(Factor.lying(labels, len(call.shape), onto))
    return tuple(made)


def _way(call: Call) -> str:
    """How a convolution loses channels; grouped ones at the finer granularity.

    Either every group loses the channels at the same offsets and the number of
    groups stays, or whole groups go. Depthwise convolution is the second with one
    channel in each group.
    """
    groups, (outputs, in_each) = call["groups"], call["weight"].shape[:2]
    way = "whole" if max(in_each, outputs // groups) <= groups else "offset"
    return call.ledger.choose(
        f"groups of {call.path('weight')}", "dense" if groups == 1 else way
    )


def _keep_groups_alike(call: Call, inputs: LabelArray | None, groups: int) -> None:
    """Unite what the groups of a convolution lose together."""
    ledger, weight = call.ledger, call["weight"]
    out_each, in_each = weight.shape[0] // groups, weight.shape[1]
    incoming = None if inputs is None else inputs.reshape(groups, in_each)
    outputs = [item.labels.reshape(groups, out_each) for item in weight.along(0)]
    if _way(call) == "offset":
        offsets = None if incoming is None else ledger.tie(incoming, 0).ravel()
        _contract(call, offsets, axis=1)
        for labels in outputs:
            ledger.tie(labels, 0)
        return
    for factor in weight.along(1):
        ledger.freeze(factor, SILENT)
    for factor, labels in zip(weight.along(0), outputs, strict=True):
        first = ledger.tie(labels, 1)
        if incoming is None:
            call.freeze(factor, "reads channels of fixed number, as of an input,")
        else:
            ledger.unite(ledger.tie(incoming, 1), first)


def _ignore_kernel(call: Call, weight: Labels) -> None:
    """Positions inside a kernel are no channels."""
    for factor in weight.factors:
        if factor.axes - {0, 1}:
            call.ledger.freeze(factor, SILENT)
