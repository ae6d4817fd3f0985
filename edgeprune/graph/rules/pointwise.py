"""Operators that keep each channel to itself: elementwise, pooling, reductions."""

from __future__ import annotations

from edgeprune.graph.labels import Factor, Labels, meet
from edgeprune.graph.rules.call import Call, operator_name

PLANE_AXES = {0, 1}  # sample and channel: pooling acts on what is behind them


def elementwise(call: Call) -> Labels:
    """Operands broadcast; what meets is one channel."""
    return meet(call.constraints, call.tensors(), call.where)


def constant(call: Call) -> Labels:
    """A tensor made by the user's code, as long as the code says."""
    sizes = call.given("size") or call.given("end")
    if len(sizes) != len(call.shape):
        return Labels(call.shape)
    made = [call.as_long_as(axis, size) for axis, size in enumerate(sizes)]
    return Labels.of(call.shape, made)


def detached(call: Call) -> Labels:
    """A result that carries no channels, as the place of another tensor's device."""
    return Labels(call.shape)


def spatial(call: Call) -> Labels:
    """Pooling, resizing: acts on each (sample, channel) plane by itself."""
    tensor, *others = call.tensors()
    kept: list[Factor] = []
    for factor in tensor.factors:
        if factor.axes <= PLANE_AXES:
            kept.append(factor)
        else:
            call.freeze(factor, "channels along an axis that is slid over")
    for factor in (factor for other in others for factor in other.factors):
        call.freeze(factor, "places to read at")
    return Labels(call.shape, tuple(kept))


def spatial_with_indices(call: Call) -> tuple[Labels, ...]:
    """Max pooling that returns positions too: both per plane."""
    values = spatial(call)
    return values, values


def softmax(call: Call) -> Labels:
    """Values along an axis divided by their sum."""
    return normalised_along(call, call.tensor, call.axis(call.tensor))


def normalised_along(call: Call, tensor: Labels, axis: int) -> Labels:
    """Mark an axis along which values are divided by their sum."""
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if factor.axes == frozenset([axis]):
            call.approximate(factor, "normalised with the other channels")
            factors.append(factor)
        elif axis in factor.axes:
            tied = call.constraints.tie(factor.labels, axis)
            factors.append(factor.relaid(tied, factor.axes - {axis}))
        else:
            factors.append(factor)
    return Labels.of(tensor.shape, factors)


def running(call: Call) -> Labels | tuple[Labels, ...]:
    """Each value depends on those before it: free along axes without channels."""
    return _as_many(call, _untouched(call, {call.axis(call.tensor)}))


def moved(call: Call) -> Labels:
    """Roll, flip: positions moved along axes; free where they have no channels."""
    ndim = len(call.tensor.shape)
    axes = {axis % ndim for axis in call["dims"]}
    return _untouched(call, axes or set(range(ndim)))


def _untouched(call: Call, axes: set[int]) -> Labels:
    """The channels that do not lie along some axes; others are frozen."""
    name = operator_name(call.node)
    kept: list[Factor] = []
    for factor in call.tensor.factors:
        if factor.axes & axes:
            call.freeze(factor, f"{name} is taken over them")
        else:
            kept.append(factor)
    return Labels(call.shape, tuple(kept))


def extremum(call: Call) -> Labels | tuple[Labels, ...]:
    """`max` and `min`: of two tensors, along an axis with positions, or of all."""
    if isinstance(call.get("other"), Labels):
        return elementwise(call)
    return reduction(call)


def of_type(call: Call) -> Labels:
    """What is said of the type of values is the same for all channels."""
    return Labels(call.shape)


def positions(call: Call) -> Labels | tuple[Labels, ...]:
    """Numbers of positions: of channels they would change with every removal."""
    axis = call.get("dim")
    axes = (
        set(range(len(call.tensor.shape))) if axis is None else {call.axis(call.tensor)}
    )
    if any(factor.axes & axes for factor in call.tensor.factors):
        return call.refuse()
    return reduction(call)


def reduction(call: Call) -> Labels | tuple[Labels, ...]:
    """Sum, mean, maximum: free along axes without channels, approximate along others.

    Channels of a cut axis that is reduced go together; the other axes keep them.
    """
    tensor = call.tensor
    ndim = len(tensor.shape)
    given = call.get("dim")
    listed = [given] if isinstance(given, int) else list(given or range(ndim))
    reduced = {axis % ndim for axis in listed} if ndim else set[int]()
    kept: list[Factor | None] = []
    for factor in tensor.factors:
        labels, axes = factor.labels, factor.axes - reduced
        if not axes:
            verb = operator_name(call.node)
            call.approximate(factor, f"{verb} is taken over them")
            continue
        for axis in factor.axes & reduced:
            labels = call.constraints.tie(labels, axis)
        if not call.get("keepdim", False):
            labels = labels.squeeze(tuple(sorted(reduced)))
            axes = {axis - sum(gone < axis for gone in reduced) for axis in axes}
        kept.append(factor.relaid(labels, axes))
    return _as_many(call, Labels.of(call.shape, kept))


def _as_many(call: Call, result: Labels) -> Labels | tuple[Labels, ...]:
    """The same labels for each result of an operator that has several."""
    values = call.node.meta["val"]
    return (result,) * len(values) if isinstance(values, list | tuple) else result
