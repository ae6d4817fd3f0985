"""Channel labels: which channel each position of each tensor belongs to.

Every axis of every parameter gets fresh integers, and a network is run once on
arrays of such labels instead of numbers. What meets is united, what cannot be
followed is frozen. This module is the algebra; `rules` says what each operator does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LabelArray = NDArray[np.int64]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one tensor.

    Attributes:
        shape: the tensor's own shape.
        factors: label arrays with as many axes as the tensor, each of which
            broadcasts to `shape`. An element goes when any of its labels goes; an
            axis along which no factor varies has a length that nothing changes.
    """

    shape: Shape
    factors: tuple[LabelArray, ...] = ()

    def along(self, axis: int) -> list[LabelArray]:
        """The factors that vary along an axis."""
        return [factor for factor in self.factors if factor.shape[axis] > 1]


@dataclass(frozen=True, slots=True)
class Frozen:
    """Why a channel cannot go.

    An empty reason is for axes that are no channels at all, such as the positions
    inside a kernel: nothing to report.
    """

    reason: str


SILENT = Frozen("")


@dataclass
class Ledger:
    """Everything that a run over labels finds out: what is one channel, what is frozen.

    Attributes:
        choices: decisions that depend on sizes, kept by name so that a pruned network
            is read the way the original was.
    """

    choices: dict[str, str] = field(default_factory=dict)
    size: int = 0
    edges: list[tuple[LabelArray, LabelArray]] = field(default_factory=list)
    frozen: list[tuple[LabelArray, Frozen]] = field(default_factory=list)

    def fresh(self, count: int) -> LabelArray:
        """New labels, shape (count,)."""
        start, self.size = self.size, self.size + count
        return np.arange(start, self.size)

    def unite(self, first: LabelArray, second: LabelArray) -> None:
        """Make labels that stand at the same place one channel."""
        first, second = np.broadcast_arrays(first, second)
        self.edges.append((first.ravel(), second.ravel()))

    def freeze(self, labels: LabelArray, frozen: Frozen) -> None:
        """Forbid the removal of these labels."""
        self.frozen.append((labels.ravel(), frozen))

    def freeze_all(self, tensor: Labels, frozen: Frozen) -> Labels:
        """Freeze whatever a tensor carries; the tensor without its labels."""
        for factor in tensor.factors:
            self.freeze(factor, frozen)
        return Labels(tensor.shape)

    def choose(self, name: str, decide: Callable[[], str]) -> str:
        """A decision taken once and repeated under the same name."""
        if name not in self.choices:
            self.choices[name] = decide()
        return self.choices[name]

    def tie(self, factor: LabelArray, axis: int) -> LabelArray:
        """Unite a factor along an axis; the factor, of length 1 along that axis."""
        first = factor.take([0], axis=axis)
        if factor.shape[axis] > 1:
            self.unite(first, factor)
        return first

    def confine(self, factor: LabelArray, axes: Iterable[int]) -> LabelArray:
        """Tie a factor along every axis but the given ones."""
        kept = set(axes)
        for axis in range(factor.ndim):
            if axis not in kept:
                factor = self.tie(factor, axis)
        return factor

    def classes(self) -> LabelArray:
        """The channel of each label, shape (size,): equal numbers are one channel."""
        if not self.edges:
            return np.arange(self.size)
        first = np.concatenate([edge[0] for edge in self.edges])
        second = np.concatenate([edge[1] for edge in self.edges])
        ones = np.ones(len(first), dtype=np.int8)
        graph = coo_array((ones, (first, second)), shape=(self.size, self.size))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def support(factor: LabelArray) -> frozenset[int]:
    """The axes along which a factor varies."""
    return frozenset(axis for axis, size in enumerate(factor.shape) if size > 1)


def align(tensor: Labels, ndim: int) -> Labels:
    """Prepend axes of length 1, as broadcasting does."""
    missing = ndim - len(tensor.shape)
    ahead = (1,) * missing
    factors = tuple(factor.reshape(ahead + factor.shape) for factor in tensor.factors)
    return Labels(ahead + tensor.shape, factors)


def meet(ledger: Ledger, operands: Sequence[Labels], where: str) -> Labels:
    """The labels of an elementwise operation, after broadcasting.

    Labels that stand at the same place become one channel. Where one operand has
    labels along an axis and another has the same length but none, the length is
    fixed by that other operand and the labels cannot go on their own.
    """
    ndim = max(len(operand.shape) for operand in operands)
    aligned = [align(operand, ndim) for operand in operands]
    shape = tuple(np.broadcast_shapes(*(operand.shape for operand in aligned)))
    factors = [
        _held_by_fixed(ledger, factor, aligned, where)
        for operand in aligned
        for factor in operand.factors
    ]
    return Labels(shape, _merge(ledger, factors, where))


def _held_by_fixed(
    ledger: Ledger, factor: LabelArray, operands: Sequence[Labels], where: str
) -> LabelArray:
    """Tie or freeze a factor along each axis whose length another operand fixes."""
    for axis in sorted(support(factor)):
        fixed = any(
            operand.shape[axis] > 1 and not operand.along(axis) for operand in operands
        )
        if not fixed:
            continue
        if len(support(factor)) == 1:
            reason = f"meets a tensor of fixed size {factor.shape[axis]} at {where}"
            ledger.freeze(factor, Frozen(reason))
        factor = ledger.tie(factor, axis) if len(support(factor)) > 1 else factor
    return factor


def _merge(
    ledger: Ledger, factors: Sequence[LabelArray], where: str
) -> tuple[LabelArray, ...]:
    """Unite factors that vary along common axes, smallest support first."""
    merged: list[LabelArray] = []
    for factor in sorted(factors, key=lambda item: len(support(item))):
        axes = support(factor)
        partners = [other for other in merged if support(other) & axes]
        if any(not support(other) <= axes for other in partners):
            reason = f"labels along different axes meet at {where}"
            for tangled in (factor, *partners):
                ledger.freeze(tangled, Frozen(reason))
            continue
        for other in partners:
            ledger.unite(other, factor)
        if not partners and axes:
            merged.append(factor)
    return tuple(merged)
