"""Operators that move positions: reshape, permute, join, cut, pad, shuffle."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from edgeprune.graph.labels import Factor, Frozen, LabelArray, Labels, Shape, meet
from edgeprune.graph.rules.call import Call, with_length

Segment = tuple[range, range]


def reshape(call: Call) -> Labels:
    """The same elements under other axes.

    An axis of channels that is cut in several is taken to be parts of equal number:
    each part loses the same offsets, as in a channel shuffle.
    """
    tensor = call.tensor
    segments = _segments(tensor.shape, call.shape)
    if segments is None:
        return call.refuse()
    factors = [_refold(call, tensor, factor, segments) for factor in tensor.factors]
    return Labels.of(call.shape, factors)


def _segments(before: Shape, after: Shape) -> list[Segment] | None:
    """The shortest runs of axes with equal products on both sides; None if none."""
    segments: list[Segment] = []
    i = j = 0
    while i < len(before) or j < len(after):
        stop_i, stop_j = min(i + 1, len(before)), min(j + 1, len(after))
        while (left := math.prod(before[i:stop_i])) != (
            right := math.prod(after[j:stop_j])
        ):
            if left < right and stop_i < len(before):
                stop_i += 1
            elif right < left and stop_j < len(after):
                stop_j += 1
            else:
                return None
        segments.append((range(i, stop_i), range(j, stop_j)))
        i, j = stop_i, stop_j
    return segments


def _refold(
    call: Call, tensor: Labels, factor: Factor, segments: list[Segment]
) -> Factor | None:
    """One factor under the new axes, segment by segment."""
    full, folded = list(factor.labels.shape), [1] * len(call.shape)
    touched = [after for before, after in segments if factor.axes & set(before)]
    for before, after in segments:
        if factor.axes & set(before):
            for axis in before:
                full[axis] = tensor.shape[axis]
            for axis in after:
                folded[axis] = call.shape[axis]
    labels = np.broadcast_to(factor.labels, full).reshape(folded)
    axes: set[int] = set()
    for after in touched:
        varying = _varying(labels, after)
        for axis in set(after) - set(varying):
            labels = labels.take([0], axis=axis)
        for axis in varying[:-1]:
            labels = call.ledger.tie(labels, axis)
        axes.update(varying[-1:])
    return factor.relaid(labels, axes)


def _varying(labels: LabelArray, axes: range) -> list[int]:
    """The axes along which labels differ; the first one where they are all equal."""
    found = [axis for axis in axes if (labels != labels.take([0], axis=axis)).any()]
    return found or list(axes[:1])


def permute(call: Call) -> Labels:
    """Axes in another order."""
    order = [axis % len(call.tensor.shape) for axis in call["dims"]]
    return _reordered(call, order)


def transpose(call: Call) -> Labels:
    """Two axes exchanged."""
    order = list(range(len(call.tensor.shape)))
    first, second = (call.axis(call.tensor, name) for name in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    return _reordered(call, order)


def transpose_matrix(call: Call) -> Labels:
    """A matrix's axes exchanged."""
    return _reordered(call, list(range(len(call.tensor.shape)))[::-1])


def _reordered(call: Call, order: list[int]) -> Labels:
    factors = [
        factor.relaid(
            factor.labels.transpose(order), [order.index(axis) for axis in factor.axes]
        )
        for factor in call.tensor.factors
    ]
    return Labels.of(call.shape, factors)


def expand(call: Call) -> Labels:
    """Repetition along axes of length 1, and new axes in front."""
    tensor = call.tensor
    missing = len(call.shape) - len(tensor.shape)
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if any(tensor.shape[a] != call.shape[a + missing] for a in factor.axes):
            call.freeze(factor, "one channel becomes many")
            continue
        labels = factor.labels.reshape((1,) * missing + factor.labels.shape)
        factors.append(factor.relaid(labels, [axis + missing for axis in factor.axes]))
    return Labels.of(call.shape, factors)


def concatenate(call: Call) -> Labels:
    """Channels stand behind each other; other axes must agree."""
    tensors = [item for item in call.tensors() if item.shape != (0,)]
    axis = call.axis(tensors[0])
    return _joined(call, tensors, axis)


def stack(call: Call) -> Labels:
    """A new axis, then concatenation along it."""
    axis = call["dim"] % len(call.shape)
    parts = [
        Labels.of(
            (*tensor.shape[:axis], 1, *tensor.shape[axis:]),
            [
                factor.relaid(
                    np.expand_dims(factor.labels, axis),
                    [other + (other >= axis) for other in factor.axes],
                )
                for factor in tensor.factors
            ],
        )
        for tensor in call.tensors()
    ]
    return Labels(call.shape, meet(call.ledger, parts, call.where).factors)


def _joined(call: Call, tensors: list[Labels], axis: int) -> Labels:
    others = [
        Labels.of(
            with_length(tensor.shape, axis, 1),
            [factor for factor in tensor.factors if axis not in factor.axes],
        )
        for tensor in tensors
    ]
    rest = meet(call.ledger, others, call.where).factors
    if not any(tensor.along(axis) for tensor in tensors):
        return Labels(call.shape, rest)
    pieces = [_piece(call, tensor, axis) for tensor in tensors]
    common = np.broadcast_shapes(
        *(with_length(piece.labels.shape, axis, 1) for piece in pieces)
    )
    joined = np.concatenate(
        [
            np.broadcast_to(
                piece.labels, with_length(common, axis, piece.labels.shape[axis])
            )
            for piece in pieces
        ],
        axis=axis,
    )
    axes = frozenset[int]().union(*(piece.axes for piece in pieces))
    return Labels(call.shape, (Factor(joined, axes), *rest))


def _piece(call: Call, tensor: Labels, axis: int) -> Factor:
    """One operand's channels along the axis that is joined; fixed where none."""
    found = tensor.along(axis)
    if len(found) == 1:
        return found[0]
    for factor in found:
        call.freeze(factor, "channels are tangled")
    return fixed(call, tensor.shape[axis], len(tensor.shape), axis)


def fixed(call: Call, count: int, ndim: int, axis: int) -> Factor:
    """Labels for positions that the user's code creates in a fixed number."""
    made = Factor.lying(call.ledger.fresh(count), ndim, axis)
    call.freeze(made, "positions of fixed number")
    return made


def chunk(call: Call) -> tuple[Labels, ...]:
    """Cut into parts; each part must keep as many channels as the others."""
    tensor = call.tensor
    axis = call.axis(tensor)
    sizes = [part.shape[axis] for part in call.node.meta["val"]]
    bounds = np.cumsum([0, *sizes]).tolist()
    return tuple(_cut(call, tensor, axis, *span) for span in pairwise(bounds))


def slice_axis(call: Call) -> Labels:
    """A range of positions: free without channels, else one of several equal parts."""
    tensor = call.tensor
    axis = call.axis(tensor)
    size, step = tensor.shape[axis], call["step"]
    start, end = (_clamp(call[name], size, name) for name in ("start", "end"))
    if (start, end, step) == (0, size, 1) or not tensor.along(axis):
        return Labels(call.shape, tensor.factors)
    if step != 1:
        return call.refuse()
    return _cut(call, tensor, axis, start, end)


def narrow(call: Call) -> Labels:
    """A range of positions by its start and length."""
    tensor = call.tensor
    start = call["start"]
    return _cut(call, tensor, call.axis(tensor), start, start + call["length"])


def _clamp(value: int | None, size: int, name: str) -> int:
    if value is None:
        return 0 if name == "start" else size
    return min(max(value + size if value < 0 else value, 0), size)


def _cut(call: Call, tensor: Labels, axis: int, start: int, end: int) -> Labels:
    """Positions start to end; parts of equal length lose the same offsets."""
    size, length = tensor.shape[axis], end - start
    equal = length > 0 and size % length == 0 and start % length == 0
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if axis not in factor.axes:
            factors.append(factor)
        elif equal:
            shape = factor.labels.shape
            parts = factor.labels.reshape(*shape[:axis], -1, length, *shape[axis + 1 :])
            call.ledger.tie(parts, axis)
            cut = factor.labels.take(range(start, end), axis=axis)
            factors.append(factor.relaid(cut, factor.axes))
        else:
            call.freeze(factor, "cut into unequal parts")
    return Labels.of(with_length(tensor.shape, axis, length), factors)


def select(call: Call) -> Labels:
    """One position of an axis; an axis of channels is frozen, its index is fixed."""
    tensor = call.tensor
    axis = call.axis(tensor)
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if axis in factor.axes:
            call.freeze(factor, "indexed by number")
        index = call["index"] if axis in factor.axes else 0
        moved = [other - (other > axis) for other in factor.axes - {axis}]
        taken = np.asarray(factor.labels.take(index, axis))
        factors.append(factor.relaid(taken, moved))
    return Labels.of(call.shape, factors)


def unbind(call: Call) -> tuple[Labels, ...]:
    """Every position of an axis by itself: free only where it has no channels."""
    tensor = call.tensor
    axis = call.axis(tensor)
    if tensor.along(axis):
        return call.refuse()
    shape = (*tensor.shape[:axis], *tensor.shape[axis + 1 :])
    factors = [
        factor.relaid(
            factor.labels.squeeze(axis), [a - (a > axis) for a in factor.axes]
        )
        for factor in tensor.factors
    ]
    return (Labels.of(shape, factors),) * tensor.shape[axis]


def pad(call: Call) -> Labels:
    """Positions added at the ends of an axis are fixed; the rest keeps its labels."""
    tensor, widths = call.tensor, list(call["pad"])
    factors = list(tensor.factors)
    for pair in range(len(widths) // 2):
        axis = len(tensor.shape) - 1 - pair
        before, after = widths[2 * pair : 2 * pair + 2]
        if (before, after) == (0, 0) or not tensor.along(axis):
            continue
        if min(before, after) < 0 or call.get("mode", "constant") != "constant":
            return call.refuse()
        factors = [
            _padded(call, item, axis, (before, after)) if axis in item.axes else item
            for item in factors
        ]
    return Labels(call.shape, tuple(factors))


def _padded(call: Call, factor: Factor, axis: int, counts: tuple[int, int]) -> Factor:
    shape = factor.labels.shape
    before, after = (
        np.broadcast_to(
            fixed(call, count, len(shape), axis).labels, with_length(shape, axis, count)
        )
        for count in counts
    )
    labels = np.concatenate([before, factor.labels, after], axis=axis)
    return Factor(labels, factor.axes)


def pixel_shuffle(call: Call) -> Labels:
    """Blocks of r*r channels become one channel of r*r positions."""
    block = call["upscale_factor"] ** 2
    made: list[Factor] = []
    for factor in call.tensor.factors:
        if 1 not in factor.axes:
            call.freeze(factor, "channels along an axis that is shuffled")
            continue
        labels = call.ledger.confine(factor, 1).reshape(-1, block)
        first = call.ledger.tie(labels, 1).ravel()
        made.append(Factor.lying(first, len(call.shape), 1))
    return Labels(call.shape, tuple(made))


def channel_shuffle(call: Call) -> Labels:
    """Channels of each group interleaved; the groups lose the same offsets."""
    made: list[Factor] = []
    for factor in call.tensor.along(1):
        labels = call.ledger.confine(factor, 1).reshape(call["groups"], -1)
        tied = np.broadcast_to(call.ledger.tie(labels, 0), labels.shape)
        made.append(Factor.lying(tied.T.ravel(), len(call.shape), 1))
    if any(1 not in factor.axes for factor in call.tensor.factors):
        call.ledger.freeze_all(call.tensor, Frozen(f"shuffled at {call.where}"))
    return Labels(call.shape, tuple(made))
