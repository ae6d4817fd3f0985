"""Operators that keep each channel to itself: elementwise, pooling, reductions."""

from __future__ import annotations

from edgeprune.graph.labels import Factor, Labels, meet
from edgeprune.graph.rules.call import Call, operator_name

PLANE_AXES = {0, 1}  # sample and channel: pooling acts on what is behind them


def elementwise(call: Call) -> Labels:
    """Operands broadcast; what meets is one channel."""
    return meet(call.ledger, call.tensors(), call.where)


def constant(call: Call) -> Labels:
    """A tensor made by the user's code: its size is whatever the code says."""
    return Labels(call.shape)


def spatial(call: Call) -> Labels:
    """Pooling, resizing: acts on each (sample, channel) plane by itself."""
    kept: list[Factor] = []
    for factor in call.tensor.factors:
        if factor.axes <= PLANE_AXES:
            kept.append(factor)
        else:
            call.freeze(factor, "channels along an axis that is slid over")
    return Labels(call.shape, tuple(kept))


def spatial_with_indices(call: Call) -> tuple[Labels, ...]:
    """Max pooling that returns positions too: both per plane."""
    values = spatial(call)
    return values, values


def reduction(call: Call) -> Labels:
    """Sum, mean, maximum: free along axes without channels, frozen along others."""
    tensor = call.tensor
    ndim = len(tensor.shape)
    axes = call.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or range(ndim))
    reduced = {axis % ndim for axis in axes} if ndim else set[int]()
    kept: list[Factor | None] = []
    for factor in tensor.factors:
        if factor.axes & reduced:
            call.freeze(factor, f"{operator_name(call.node)} mixes channels")
        elif call.get("keepdim", False):
            kept.append(factor)
        else:
            labels = factor.labels.squeeze(tuple(sorted(reduced)))
            moved = [
                axis - sum(gone < axis for gone in reduced) for axis in factor.axes
            ]
            kept.append(factor.relaid(labels, moved))
    return Labels.of(call.shape, kept)
