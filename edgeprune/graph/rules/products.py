"""Sums of products of tensors: matrix products, einsum, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.graph.labels import Factor, Labels, Shape, meet
from edgeprune.graph.rules.call import Call
from edgeprune.graph.rules.pointwise import normalised_along

Letters = tuple[str, ...]  # one for each axis of a tensor; equal ones are one axis


def matrix_product(call: Call) -> Labels:
    """The last axis of the first with the last but one of the second, in batches."""
    first, second = call.tensors()[-2:]
    return product(call, [first, second], *_matrix_letters(first, second))


def biased_product(call: Call) -> Labels:
    """A matrix product added to something: `addmm`, `baddbmm`."""
    made = matrix_product(call)
    return meet(call.constraints, [call.tensors()[0], made], call.where)


def einsum(call: Call) -> Labels:
    """Axes of the same letter are one; those that the result lacks are summed."""
    tensors = call.tensors()
    read, _, written = str(call["equation"]).replace(" ", "").partition("->")
    ranks = [len(tensor.shape) for tensor in tensors]
    operands = [
        _spelled(text, rank) for text, rank in zip(read.split(","), ranks, strict=True)
    ]
    seen = [letter for letters in operands for letter in letters]
    if "->" not in str(call["equation"]):
        dots = sorted({item for item in seen if item.startswith("_")})
        once = sorted(item for item in set(seen) - set(dots) if seen.count(item) == 1)
        return product(call, tensors, operands, (*dots, *once))
    return product(call, tensors, operands, _spelled(written, len(call.shape)))


def attention(call: Call) -> Labels:
    """Softmax of scaled products of queries and keys, times values."""
    query, key, value = call["query"], call["key"], call["value"]
    batch = tuple(f"_{index}" for index in range(len(query.shape) - 2, 0, -1))
    outer = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    shape = (*outer, query.shape[-2], key.shape[-2])
    letters = [(*batch, "q", "e"), (*batch, "k", "e")]
    if call.get("enable_gqa"):
        return call.refuse()
    scores = product(call, [query, key], letters, (*batch, "q", "k"), shape)
    if call.get("scale") is None:
        for tensor in (query, key):
            for factor in tensor.along(len(shape) - 1):
                if len(factor.axes) == 1:
                    call.approximate(factor, "attention is scaled by their number")
    if isinstance(call.get("attn_mask"), Labels):
        scores = meet(call.constraints, [scores, call["attn_mask"]], call.where)
    weights = normalised_along(call, scores, len(shape) - 1)
    letters = [(*batch, "q", "k"), (*batch, "k", "v")]
    return product(call, [weights, value], letters, (*batch, "q", "v"))


def product(
    call: Call,
    tensors: Sequence[Labels],
    operands: Sequence[Letters],
    result: Letters,
    shape: Shape | None = None,
) -> Labels:
    """Multiply tensors along their common letters, sum over those not in the result.

    What is summed together is one channel, as in a linear layer: a weight's summed
    axis is its input, its other axes are its output.
    """
    summed = sorted({item for letters in operands for item in letters} - set(result))
    order = (*result, *summed)
    for tensor, letters in zip(tensors, operands, strict=True):
        _claim(call, tensor, letters, set(summed))
    laid = [
        _laid_out(tensor, letters, order)
        for tensor, letters in zip(tensors, operands, strict=True)
    ]
    met = meet(call.constraints, laid, call.where)
    factors: list[Factor | None] = []
    for factor in met.factors:
        labels, kept = factor.labels, factor.axes
        for axis in range(len(result), len(order)):
            labels = call.constraints.tie(labels, axis) if len(kept) > 1 else labels
            labels = labels.take([0], axis=axis)
            kept = kept - {axis}
        if not kept:
            call.sum_over(factor)
        labels = labels.reshape(labels.shape[: len(result)])
        factors.append(factor.relaid(labels, kept))
    return Labels.of(call.shape if shape is None else shape, factors)


def _laid_out(tensor: Labels, letters: Letters, order: Letters) -> Labels:
    """A tensor's labels with one axis for each letter, in the order of all letters."""
    places = [order.index(letter) for letter in letters]
    if len(set(places)) < len(places):  # a diagonal: of no use to channels
        return Labels((1,) * len(order))
    sequence = sorted(range(len(letters)), key=lambda axis: places[axis])

    def spread(lengths: Shape) -> Shape:
        full = [1] * len(order)
        for axis, length in enumerate(lengths):
            full[places[axis]] = length
        return tuple(full)

    factors = tuple(
        Factor(
            factor.labels.transpose(sequence).reshape(spread(factor.labels.shape)),
            frozenset(places[axis] for axis in factor.axes),
        )
        for factor in tensor.factors
    )
    return Labels(spread(tensor.shape), factors)


def _claim(call: Call, tensor: Labels, letters: Letters, summed: set[str]) -> None:
    for factor in tensor.factors:
        if len(factor.axes) == 1:
            (axis,) = factor.axes
            call.claim(factor, "input" if letters[axis] in summed else "output")


def _matrix_letters(first: Labels, second: Labels) -> tuple[list[Letters], Letters]:
    ranks = len(first.shape), len(second.shape)
    batch = tuple(f"_{index}" for index in range(max(ranks) - 2, 0, -1))
    ends = [("m", "k"), ("k", "n")]
    operands: list[Letters] = []
    for rank, end in zip(ranks, ends, strict=True):
        if rank == 1:
            operands.append(("k",))
        else:
            operands.append((*batch[len(batch) - (rank - 2) :], *end))
    result = (
        *batch,
        *(("m",) if ranks[0] > 1 else ()),
        *(("n",) if ranks[1] > 1 else ()),
    )
    return operands, result


def _spelled(text: str, rank: int) -> Letters:
    """An operand's letters, with one for each axis that `...` stands for."""
    before, dots, after = text.partition("...")
    count = rank - len(before) - len(after) if dots else 0
    return (*before, *(f"_{index}" for index in range(count, 0, -1)), *after)
