"""Operators that lay the same positions out under other axes."""

from __future__ import annotations

import math

import numpy as np

from edgeprune.graph.labels import Factor, LabelArray, Labels, Reason, Shape
from edgeprune.graph.rules.call import Call, bound_arguments
from edgeprune.graph.rules.pointwise import elementwise
from edgeprune.graph.sizes import AxisSize, Comparisons, Size

Segment = tuple[range, range]


def reshape(call: Call) -> Labels:
    """The same elements under other axes.

    An axis of channels that is cut in several, as into heads and their width, loses
    whole positions of one of them: of an axis whose length is not a number written
    into the code, and where several are free, of the one that later operators choose.
    """
    tensor = call.tensor
    segments = _segments(tensor.shape, call.shape)
    if segments is None:
        return call.refuse()
    sizes = _stated(call)
    factors = [
        _refold(call, tensor, factor, segments, sizes) for factor in tensor.factors
    ]
    for factor in filter(None, factors):
        for axis in factor.axes:
            call.sized(factor, axis, sizes[axis])
    return Labels.of(call.shape, factors)


def _stated(call: Call) -> list[int | None]:
    """The length of each axis of the result as the user's code gave it."""
    unknown: list[int | None] = [None] * len(call.shape)
    if isinstance(call.get("other"), Labels):
        node = bound_arguments(call.node)["other"]
        return [
            Size(length, AxisSize(node, axis), Comparisons())
            for axis, length in enumerate(call.shape)
        ]
    for name in ("size", "shape"):
        sizes = call.given(name)
        if len(sizes) == len(call.shape):
            return sizes
    parts = call.given("sizes")
    if parts:
        start = call.axis(call.tensor)
        unknown[start : start + len(parts)] = parts
    return unknown


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
    call: Call,
    tensor: Labels,
    factor: Factor,
    segments: list[Segment],
    sizes: list[int | None],
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
        free = _free_axes(call, factor, labels, after, sizes)
        for axis in set(after) - set(free):
            labels = call.constraints.tie(labels, axis)
        if len(free) > 1:
            call.constraints.splits.append((labels, tuple(free)))
        axes.update(free)
    return factor.relaid(labels, axes)


def _free_axes(
    call: Call,
    factor: Factor,
    labels: LabelArray,
    after: range,
    sizes: list[int | None],
) -> list[int]:
    """The axes of a segment that channels lie along, each with a length of its own.

    What was found for the original holds for a pruned network, which may have one
    channel left along an axis.
    """
    varying = [axis for axis in after if (labels != labels.take([0], axis=axis)).any()]
    written = [axis for axis in varying if _is_written(sizes[axis])]
    written = varying[:-1] if written == varying else written
    free = [axis for axis in varying if axis not in written] or list(after[:1])
    name = f"axes of {call.name} {sorted(factor.axes)} {after.start}"
    chosen = call.constraints.choose(name, " ".join(str(axis) for axis in free))
    return [int(axis) for axis in chosen.split()]


def _is_written(size: int | None) -> bool:
    """Whether a length is a number that stands in the user's code."""
    return size is not None and not isinstance(size, Size) and size >= 0


def permute(call: Call) -> Labels:
    """Axes in another order."""
    order = [axis % len(call.tensor.shape) for axis in call["dims"]]
    return _reordered(call, order)


def transpose(call: Call) -> Labels:
    """Two axes exchanged."""
    order = list(range(len(call.tensor.shape)))
    names = [
        name for name in ("dim0", "dim1", "axis0", "axis1") if name in call.arguments
    ]
    first, second = (call.axis(call.tensor, name) for name in names)
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


def swap(call: Call) -> Labels:
    """The last two axes exchanged."""
    order = list(range(len(call.tensor.shape)))
    return _reordered(call, [*order[:-2], *order[-2:][::-1]])


def move_axes(call: Call) -> Labels:
    """Some axes put elsewhere, the others in their order."""
    ndim = len(call.tensor.shape)
    source, target = (
        [axis % ndim for axis in ([given] if isinstance(given, int) else given)]
        for given in (call["source"], call["destination"])
    )
    moved = dict(zip(target, source, strict=True))
    rest = iter(axis for axis in range(ndim) if axis not in source)
    return _reordered(
        call, [moved[axis] if axis in moved else next(rest) for axis in range(ndim)]
    )


def expand(call: Call) -> Labels:
    """Repetition along axes of length 1, and new axes in front."""
    tensor = call.tensor
    if isinstance(call.get("other"), Labels):
        return elementwise(call)
    missing = len(call.shape) - len(tensor.shape)
    sizes = call.given("size")
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if any(tensor.shape[a] != call.shape[a + missing] for a in factor.axes):
            call.freeze(factor, "one channel becomes many")
            continue
        labels = factor.labels.reshape((1,) * missing + factor.labels.shape)
        axes = [axis + missing for axis in factor.axes]
        factors.append(factor.relaid(labels, axes))
    for axis, size in enumerate(sizes):
        if axis < missing or tensor.shape[axis - missing] != call.shape[axis]:
            factors.append(call.as_long_as(axis, size))
    for factor in filter(None, factors):
        for axis in factor.axes:
            call.sized(factor, axis, sizes[axis] if sizes else None)
    return Labels.of(call.shape, factors)


def pixel_shuffle(call: Call) -> Labels:
    """Blocks of r*r channels become one channel of r*r positions."""
    return _folded(call, call["upscale_factor"] ** 2)


def channel_shuffle(call: Call) -> Labels:
    """Channels of each group interleaved; the groups lose the same offsets."""
    made: list[Factor] = []
    for factor in call.tensor.along(1):
        labels = call.constraints.confine(factor, 1).reshape(call["groups"], -1)
        tied = np.broadcast_to(call.constraints.tie(labels, 0), labels.shape)
        made.append(Factor.lying(tied.T.ravel(), len(call.shape), 1))
    if any(1 not in factor.axes for factor in call.tensor.factors):
        call.constraints.freeze_all(call.tensor, Reason(f"shuffled at {call.where}"))
    return Labels(call.shape, tuple(made))


def pixel_unshuffle(call: Call) -> Labels:
    """A channel of r*r positions becomes a block of r*r channels."""
    return _unfolded(call, call["downscale_factor"] ** 2)


def unfold(call: Call) -> Labels:
    """Patches as columns: each channel becomes a block of kernel positions."""
    return _unfolded(call, math.prod(call["kernel_size"]))


def fold(call: Call) -> Labels:
    """Patches put back: a block of kernel positions becomes one channel."""
    return _folded(call, math.prod(call["kernel_size"]))


def windows(call: Call) -> Labels:
    """Windows slid along one axis, laid out behind all others."""
    tensor, axis = call.tensor, call.axis(call.tensor, "dimension")
    if tensor.along(axis):
        return call.refuse()
    factors = [
        factor.relaid(factor.labels[..., None], factor.axes)
        for factor in tensor.factors
    ]
    return Labels.of(call.shape, factors)


def _unfolded(call: Call, block: int) -> Labels:
    made: list[Factor] = []
    for factor in call.tensor.factors:
        if 1 not in factor.axes:
            call.freeze(factor, "channels along an axis that is shuffled")
            continue
        labels = np.repeat(call.constraints.confine(factor, 1), block)
        made.append(Factor.lying(labels, len(call.shape), 1))
    return Labels(call.shape, tuple(made))


def _folded(call: Call, block: int) -> Labels:
    made: list[Factor] = []
    for factor in call.tensor.factors:
        if 1 not in factor.axes:
            call.freeze(factor, "channels along an axis that is shuffled")
            continue
        labels = call.constraints.confine(factor, 1).reshape(-1, block)
        first = call.constraints.tie(labels, 1).ravel()
        made.append(Factor.lying(first, len(call.shape), 1))
    return Labels(call.shape, tuple(made))
