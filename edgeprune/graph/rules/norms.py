"""Normalisation: who is normalised with whom."""

from __future__ import annotations

from edgeprune.graph.labels import Factor, Labels, meet
from edgeprune.graph.rules.call import Call

MANY = 8  # groups of channels from which on whole groups are worth choosing among


def batch_norm(call: Call) -> Labels:
    """Scale, shift and running statistics go with the channel on axis 1."""
    names = ("weight", "bias", "running_mean", "running_var")
    tensor: Labels = call["input"]
    if call.get("training") or call.get("use_input_stats"):
        instance = {0, 1} if call.get("use_input_stats") else {1}
        for factor in tensor.factors:
            if not factor.axes <= instance:
                call.approximate(factor, "normalised with the other channels")
    return _scaled(call, tensor, [call.get(name) for name in names])


def prelu(call: Call) -> Labels:
    """One slope for all, or one for each channel on axis 1."""
    tensor, slope = call.tensors()
    return _scaled(call, tensor, [slope])


def layer_norm(call: Call) -> Labels:
    """The last axes are normalised together: what is left has another mean."""
    tensor: Labels = call["input"]
    sizes = call.given("normalized_shape")
    first = len(tensor.shape) - len(call["normalized_shape"])
    for factor in tensor.factors:
        if max(factor.axes) >= first:
            call.approximate(factor, "normalised with the other channels")
        for axis, size in enumerate(sizes, start=first):
            if axis in factor.axes:
                call.sized(factor, axis, size)
    vectors = [call.get("weight"), call.get("bias")]
    held = [vector for vector in vectors if vector is not None]
    return meet(call.constraints, [tensor, *held], call.where)


def group_norm(call: Call) -> Labels:
    """Groups of channels on axis 1 are normalised together.

    Where there are many, whole groups go, which is exact; else every group loses the
    channels at the same offsets, and what is left has another mean.
    """
    tensor, groups = call["input"], call["num_groups"]
    whole = groups >= min(MANY, tensor.shape[1]) and groups > 1
    way = call.constraints.choose(call.name, "whole" if whole else "offset")
    result = _scaled(call, tensor, [call.get("weight"), call.get("bias")])
    for factor in result.along(1):
        labels = call.constraints.confine(factor, 1).reshape(groups, -1)
        if way == "whole":
            tied = Factor(call.constraints.tie(labels, 1), frozenset([0]))
            for size in call.given("num_groups"):
                call.sized(tied, 0, size)
        else:
            call.constraints.tie(labels, 0)
            call.approximate(factor, "normalised with the other channels")
    return result


def weight_norm(call: Call) -> Labels:
    """Directions scaled to a length of one: their axes are normalised together."""
    directions = _normalised_but(call, call["v"])
    return meet(call.constraints, [directions, call["g"]], call.where)


def renorm(call: Call) -> Labels:
    """What lies at one place of an axis is scaled to a length that it may have."""
    return _normalised_but(call, call.tensor)


def _normalised_but(call: Call, tensor: Labels) -> Labels:
    """Mark the axes that are normalised together: all but `dim`."""
    for factor in tensor.factors:
        if call.axis(tensor) not in factor.axes:
            call.approximate(factor, "normalised with the other channels")
    return tensor


def _scaled(call: Call, tensor: Labels, held: list[Labels | None]) -> Labels:
    """A tensor and vectors that hold one value for each channel on axis 1."""
    ndim = len(tensor.shape)
    vectors = [_per_channel(item, ndim) for item in held if item is not None]
    return meet(call.constraints, [tensor, *vectors], call.where)


def _per_channel(vector: Labels, ndim: int) -> Labels:
    """A vector's labels where a channel's value lies for broadcasting: on axis 1."""
    ones = (1,) * max(ndim - 2, 0)
    factors = tuple(
        Factor(factor.labels.reshape(-1, *ones), factor.axes)
        for factor in vector.factors
    )
    return Labels(vector.shape + ones, factors)
