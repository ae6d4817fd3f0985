"""Channel labels: which channel each position of each tensor belongs to.

Every axis of every parameter gets fresh integers, and a network is run once on
arrays of such labels instead of numbers. What meets is united, what cannot be
followed is frozen. This module is the algebra; `rules` says what each operator does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import fx

from edgeprune.graph.sizes import Path

LabelArray = NDArray[np.int64]
Shape = tuple[int, ...]
Axis = tuple[str, int]  # dotted parameter path, axis


@dataclass(frozen=True, slots=True)
class Factor:
    """Labels along some axes of a tensor.

    Attributes:
        labels: as many axes as the tensor; its length along `axes`, 1 along others.
        axes: along which positions have channels of their own. An axis of length 1
            may be among them: a layer with a single channel.
    """

    labels: LabelArray
    axes: frozenset[int]

    @classmethod
    def lying(cls, labels: LabelArray, ndim: int, axis: int) -> Factor:
        """Labels of shape (n,) along one axis of a tensor."""
        shape = [1] * ndim
        shape[axis] = -1
        return cls(labels.reshape(shape), frozenset([axis % ndim]))

    def relaid(self, labels: LabelArray, axes: Iterable[int]) -> Factor | None:
        """The same channels under other axes; None if no axis is left."""
        kept = frozenset(axes)
        return Factor(labels, kept) if kept else None


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one tensor.

    Attributes:
        shape: the tensor's own shape.
        factors: an element goes when any of its factors' labels goes. An axis
            without a factor has a length that nothing changes.
    """

    shape: Shape
    factors: tuple[Factor, ...] = ()

    @classmethod
    def of(cls, shape: Shape, factors: Iterable[Factor | None]) -> Labels:
        """Labels of the factors that are left."""
        return cls(shape, tuple(item for item in factors if item is not None))

    def along(self, axis: int) -> list[Factor]:
        """The factors with channels along an axis."""
        return [factor for factor in self.factors if axis in factor.axes]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a channel cannot go, or not without changing what others compute.

    An empty text is for axes that are no channels at all, such as the positions
    inside a kernel: nothing to report.
    """

    text: str


SILENT = Reason("")
Role = Literal["input", "output"]
Reasons = list[tuple[LabelArray, Reason]]


@dataclass(frozen=True, slots=True)
class AxisUse:
    """The role in which an operator uses the labels along an axis of a weight."""

    labels: LabelArray
    role: Role
    node: fx.Node


@dataclass
class ConstraintStore:
    """Everything that a run over labels finds out.

    Attributes:
        choices: decisions that depend on sizes, kept by name so that a pruned network
            is read the way the original was.
        size: labels given out so far.
        edges: labels that are one channel.
        frozen: labels that cannot go.
        approximate: labels that others are normalised or averaged with.
        splits: labels of an axis that was cut in several; along one of these axes
            all positions must go together, and no operator has said which.
        summed: labels that an operator on weights alone sums over, as the largest
            singular value does. Where they are channels of an activation, too, the
            others' values depend on them.
        alike: pairs of axes: the code uses the length of one where it means the
            other's, so both must lose equally many positions.
        axis_uses: what the labels of a weight's axis are for.
        follows: labels along axes whose length a module holds as a number, one row
            for each position.
    """

    choices: dict[str, str] = field(default_factory=dict[str, str])
    size: int = 0
    edges: list[tuple[LabelArray, LabelArray]] = field(
        default_factory=list[tuple[LabelArray, LabelArray]]
    )
    frozen: Reasons = field(default_factory=Reasons)
    approximate: Reasons = field(default_factory=Reasons)
    splits: list[tuple[LabelArray, tuple[int, ...]]] = field(
        default_factory=list[tuple[LabelArray, tuple[int, ...]]]
    )
    summed: Reasons = field(default_factory=Reasons)
    alike: list[tuple[LabelArray, LabelArray]] = field(
        default_factory=list[tuple[LabelArray, LabelArray]]
    )
    axis_uses: list[AxisUse] = field(default_factory=list[AxisUse])
    follows: list[tuple[Path, LabelArray]] = field(
        default_factory=list[tuple[Path, LabelArray]]
    )

    def fresh(self, count: int) -> LabelArray:
        """New labels, shape (count,)."""
        start, self.size = self.size, self.size + count
        return np.arange(start, self.size)

    def unite(self, first: LabelArray, second: LabelArray) -> None:
        """Make labels that stand at the same place one channel."""
        first, second = np.broadcast_arrays(first, second)
        self.edges.append((first.ravel(), second.ravel()))

    def freeze(self, factor: Factor, reason: Reason) -> None:
        """Forbid the removal of these channels."""
        self.frozen.append((factor.labels.ravel(), reason))

    def approximate_for(self, factor: Factor, reason: Reason) -> None:
        """Say that the removal of these channels changes what the others compute."""
        self.approximate.append((factor.labels.ravel(), reason))

    def freeze_all(self, tensor: Labels, reason: Reason) -> Labels:
        """Freeze whatever a tensor carries; the tensor without its labels."""
        for factor in tensor.factors:
            self.freeze(factor, reason)
        return Labels(tensor.shape)

    def choose(self, name: str, decision: str) -> str:
        """The decision that was taken first under a name."""
        return self.choices.setdefault(name, decision)

    def tie(self, labels: LabelArray, axis: int) -> LabelArray:
        """Unite labels along an axis; what is left has length 1 there."""
        first = labels.take([0], axis=axis)
        if labels.shape[axis] > 1:
            self.unite(first, labels)
        return first

    def confine(self, factor: Factor, axis: int) -> LabelArray:
        """Tie a factor along every other axis; its labels along this one, (n,)."""
        labels = factor.labels
        for other in factor.axes - {axis}:
            labels = self.tie(labels, other)
        return labels.ravel()

    def follow(self, path: Path, factor: Factor, axis: int) -> None:
        """A module holds the length of this axis as a number.

        Axes whose length is the same number lose channels of the same places.
        """
        rows = np.moveaxis(factor.labels, axis, 0)
        rows = rows.reshape(len(rows), -1)
        for other_path, other in self.follows:
            if other_path == path and other.shape == rows.shape:
                self.unite(other, rows)
                break
        self.follows.append((path, rows))

    def classes(self) -> LabelArray:
        """The channel of each label, shape (size,): equal numbers are one channel."""
        classes = self._connected()
        settled = len(self.edges)
        for first, second in self.alike:
            channels = np.sort(classes[first]), np.sort(classes[second])
            if not np.array_equal(*channels):  # else they are as long by themselves
                self.unite(first, second)
        classes = classes if len(self.edges) == settled else self._connected()
        settled = len(self.edges)
        for labels, axes in self.splits:
            channels = classes[labels]
            open_axes = [
                axis
                for axis in axes
                if (channels != channels.take([0], axis=axis)).any()
            ]
            for axis in open_axes[:-1]:
                labels = self.tie(labels, axis)
        return classes if len(self.edges) == settled else self._connected()

    def _connected(self) -> LabelArray:
        if not self.edges:
            return np.arange(self.size)
        first = np.concatenate([edge[0] for edge in self.edges])
        second = np.concatenate([edge[1] for edge in self.edges])
        ones = np.ones(len(first), dtype=np.int8)
        graph = coo_array((ones, (first, second)), shape=(self.size, self.size))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def align(tensor: Labels, ndim: int) -> Labels:
    """Prepend axes of length 1, as broadcasting does."""
    missing = ndim - len(tensor.shape)
    ahead = (1,) * missing
    factors = tuple(
        Factor(
            factor.labels.reshape(ahead + factor.labels.shape),
            frozenset(axis + missing for axis in factor.axes),
        )
        for factor in tensor.factors
    )
    return Labels(ahead + tensor.shape, factors)


def meet(
    constraints: ConstraintStore, operands: Sequence[Labels], where: str
) -> Labels:
    """The labels of an elementwise operation, after broadcasting.

    Labels that stand at the same place become one channel. Where one operand has
    channels along an axis and another has the same length but none, the length is
    fixed by that other operand and the channels cannot go on their own.
    """
    ndim = max(len(operand.shape) for operand in operands)
    aligned = [align(operand, ndim) for operand in operands]
    shape = tuple(np.broadcast_shapes(*(operand.shape for operand in aligned)))
    factors: list[Factor] = []
    for operand in aligned:
        for factor in operand.factors:
            held = _held(constraints, factor, shape, aligned, where)
            factors += [held] if held is not None else []
    return Labels(shape, _merge(constraints, factors, where))


def _held(
    constraints: ConstraintStore,
    factor: Factor,
    shape: Shape,
    operands: Sequence[Labels],
    where: str,
) -> Factor | None:
    """Reduce a factor where other operands fix the length of its axes."""
    labels, axes = factor.labels, set(factor.axes)
    for axis in sorted(factor.axes):
        # The only channel that is left of many, on one of several axes of length 1.
        spread = labels.shape[axis] < shape[axis]
        fixed = shape[axis] > 1 and any(
            operand.shape[axis] > 1 and not operand.along(axis) for operand in operands
        )
        if fixed and not spread and len(axes) == 1:
            reason = f"meets a tensor of fixed size {shape[axis]} at {where}"
            constraints.freeze(factor, Reason(reason))
        if fixed or spread:
            labels = (
                labels.take([0], axis)
                if len(axes) == 1
                else constraints.tie(labels, axis)
            )
            axes.remove(axis)
    return factor.relaid(labels, axes)


def _merge(
    constraints: ConstraintStore, factors: Sequence[Factor], where: str
) -> tuple[Factor, ...]:
    """Unite factors that have axes in common, those with the fewest axes first."""
    merged: list[Factor] = []
    for factor in sorted(factors, key=lambda item: len(item.axes)):
        partners = [other for other in merged if other.axes & factor.axes]
        if any(not other.axes <= factor.axes for other in partners):
            for tangled in (factor, *partners):
                reason = f"channels along different axes meet at {where}"
                constraints.freeze(tangled, Reason(reason))
            continue
        for other in partners:
            constraints.unite(other.labels, factor.labels)
        if not partners:
            merged.append(factor)
    return tuple(merged)
