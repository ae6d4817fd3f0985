"""Operators that join, cut, pick, repeat and pad positions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from edgeprune.graph.labels import Factor, Labels, meet
from edgeprune.graph.rules.call import Call, with_length
from edgeprune.graph.sizes import Size


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
    return Labels(call.shape, meet(call.constraints, parts, call.where).factors)


def _joined(call: Call, tensors: list[Labels], axis: int) -> Labels:
    others = [
        Labels.of(
            with_length(tensor.shape, axis, 1),
            [factor for factor in tensor.factors if axis not in factor.axes],
        )
        for tensor in tensors
    ]
    rest = meet(call.constraints, others, call.where).factors
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
    made = Factor.lying(call.constraints.fresh(count), ndim, axis)
    call.freeze(made, "positions of fixed number")
    return made


def chunk(call: Call) -> tuple[Labels, ...]:
    """Cut into parts: of equal number, or of the lengths that the code states."""
    tensor = call.tensor
    axis = call.axis(tensor)
    lengths = [part.shape[axis] for part in call.node.meta["val"]]
    stated = call.given("split_sizes")
    if not any(isinstance(size, Size) and size.origin for size in stated):
        stated = [None] * len(lengths)  # reckoned from the whole: parts stay alike
    bounds = np.cumsum([0, *lengths]).tolist()
    spans = list(pairwise(bounds))
    for size in (*call.given("split_size"), *call.given("split_sizes")):
        _follow_sources(call, axis, spans[0], size)
    return tuple(
        _cut(call, tensor, axis, span, size)
        for span, size in zip(spans, stated, strict=True)
    )


def _follow_sources(
    call: Call, axis: int, span: tuple[int, int], size: int | None
) -> None:
    """Numbers that a length was reckoned from, where they are that of a whole axis."""
    if not isinstance(size, Size):
        return
    whole = (0, call.tensor.shape[axis])
    for source, value in size.sources.items():
        for place in (whole, span):
            if value == place[1] - place[0]:
                given = Size(value, source, size.comparisons)
                _state(call, call.tensor, axis, place, given)
                break


def glu(call: Call) -> Labels:
    """One half of an axis times the sigmoid of the other."""
    tensor = call.tensor
    axis = call.axis(tensor)
    half = tensor.shape[axis] // 2
    spans = (0, half), (half, 2 * half)
    halves = [_cut(call, tensor, axis, span, None) for span in spans]
    return meet(call.constraints, halves, call.where)


def slice_axis(call: Call) -> Labels:
    """A range of positions: free without channels, else one of several parts."""
    tensor = call.tensor
    axis = call.axis(tensor)
    size, step = tensor.shape[axis], call["step"]
    start, end = (_clamp(call[name], size, name) for name in ("start", "end"))
    if (start, end, step) == (0, size, 1) or not tensor.along(axis):
        return Labels(call.shape, tensor.factors)
    if step != 1:
        return call.refuse()
    stated = _stated_length(call, axis, (start, end))
    return _cut(call, tensor, axis, (start, end), stated)


def _stated_length(call: Call, axis: int, span: tuple[int, int]) -> int | None:
    """The number that the code gave to cut an axis once, if it did so."""
    name = "end" if span[0] == 0 else "start"
    given = call.given(name)
    if not given or not isinstance(given[0], Size) or given[0].origin is None:
        return None
    if name == "start" and span[1] == call.tensor.shape[axis]:
        _state(call, call.tensor, axis, (0, span[0]), given[0])
    return given[0]


def narrow(call: Call) -> Labels:
    """A range of positions by its start and length."""
    tensor = call.tensor
    start = call["start"]
    span = start, start + call["length"]
    return _cut(call, tensor, call.axis(tensor), span, None)


def _clamp(value: int | None, size: int, name: str) -> int:
    if value is None:
        return 0 if name == "start" else size
    return min(max(value + size if value < 0 else value, 0), size)


def _cut(
    call: Call, tensor: Labels, axis: int, span: tuple[int, int], stated: int | None
) -> Labels:
    """Positions of a span. Parts of equal length lose the same offsets.

    Args:
        stated: where the cut is, as the code gave it: a length that a module holds or
            that was read from a tensor follows the channels, and so do others that
            are reckoned from it.
    """
    (start, end), size = span, tensor.shape[axis]
    length = end - start
    equal = length > 0 and size % length == 0 and start % length == 0
    follows = isinstance(stated, Size)
    if follows and length == stated:
        _state(call, tensor, axis, span, stated)
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        if axis not in factor.axes:
            factors.append(factor)
        elif follows or equal:
            if not follows:
                _tie_parts(call, factor, axis, length)
            cut = factor.labels.take(range(start, end), axis=axis)
            factors.append(factor.relaid(cut, factor.axes))
        else:
            call.freeze(factor, "cut into unequal parts")
    return Labels.of(with_length(tensor.shape, axis, length), factors)


def _state(
    call: Call, tensor: Labels, axis: int, span: tuple[int, int], size: int | None
) -> None:
    """Say that the code states the length of a part of an axis."""
    for factor in tensor.along(axis):
        labels = factor.labels.take(range(*span), axis=axis)
        call.sized(Factor(labels, factor.axes), axis, size)


def _tie_parts(call: Call, factor: Factor, axis: int, length: int) -> None:
    shape = factor.labels.shape
    parts = factor.labels.reshape(*shape[:axis], -1, length, *shape[axis + 1 :])
    call.constraints.tie(parts, axis)


def repeat(call: Call) -> Labels:
    """The whole tensor several times over, along some axes."""
    tensor, times = call.tensor, list(call.get("repeats") or call.get("dims"))
    missing = len(call.shape) - len(tensor.shape)
    times = [1] * (len(call.shape) - len(times)) + times
    factors: list[Factor | None] = []
    for factor in tensor.factors:
        labels = factor.labels.reshape((1,) * missing + factor.labels.shape)
        axes = [axis + missing for axis in factor.axes]
        labels = np.tile(
            labels, [times[a] if a in axes else 1 for a in range(len(times))]
        )
        factors.append(factor.relaid(labels, axes))
    return Labels.of(call.shape, factors)


def repeat_each(call: Call) -> Labels:
    """Every position of an axis several times in a row."""
    tensor = call.tensor
    if not isinstance(call["repeats"], int) or call["dim"] is None:
        return call.refuse()
    axis = call.axis(tensor)
    factors = [
        factor.relaid(np.repeat(factor.labels, call["repeats"], axis), factor.axes)
        if axis in factor.axes
        else factor
        for factor in tensor.factors
    ]
    return Labels.of(call.shape, factors)


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
