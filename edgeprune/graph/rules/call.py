"""One operator call, as its rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from edgeprune.graph.labels import (
    AxisUse,
    ConstraintStore,
    Factor,
    Labels,
    Reason,
    Role,
    Shape,
)
from edgeprune.graph.provenance import SIZES, whole_numbers
from edgeprune.graph.sizes import AttributeSize, AxisSize, Size
from edgeprune.graph.torch_private import argument_defaults, has_schema, plain_name
from edgeprune.graph.trace import source_line


@dataclass(frozen=True)
class Call:
    """One operator call as its rule sees it.

    Attributes:
        node: the operator in the graph.
        arguments: by the names of the ATen schema; labels in place of tensors.
        shape: of the (first) result.
        values: the labels of every node before it.
        name: the same in a pruned network, for choices that must be repeated.
        fed: what it reads depends on an input of the network, not on weights alone.
    """

    constraints: ConstraintStore
    node: fx.Node
    arguments: dict[str, Any]
    shape: Shape
    values: Mapping[fx.Node, Any]
    name: str
    fed: bool

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or a default if the operator has none of that name."""
        return self.arguments.get(name, default)

    @property
    def where(self) -> str:
        """The user's source line."""
        return source_line(self.node)

    @property
    def tensor(self) -> Labels:
        """The first tensor argument."""
        return self.tensors()[0]

    def tensors(self) -> list[Labels]:
        """All tensor arguments, those inside lists too."""
        found: list[Labels] = []
        for value in self.arguments.values():
            items = value if isinstance(value, list | tuple) else [value]
            found += [item for item in items if isinstance(item, Labels)]
        return found

    def axis(self, tensor: Labels, name: str = "dim") -> int:
        """A single axis argument, counted from the front."""
        return self[name] % max(len(tensor.shape), 1)

    def given(self, name: str) -> list[int | None]:
        """An argument's whole numbers as the user's code gave them.

        A `Size` knows its origin; None was not found among what the code gave.
        """
        matched: dict[int, int] = self.node.meta.get(SIZES, {})
        names = list(argument_defaults(self.node.target))
        values = dict(zip(names, self.node.args, strict=False)) | self.node.kwargs
        if name not in values:
            return []
        position = 0
        for other, value in values.items():
            count = len(whole_numbers(value))
            if other == name:
                return [matched.get(position + index) for index in range(count)]
            position += count
        return []

    def claim(self, factor: Factor, role: Role) -> None:
        """Say what an axis of a weight is for."""
        self.constraints.axis_uses.append(
            AxisUse(factor.labels.ravel(), role, self.node)
        )

    def freeze(self, factor: Factor, reason: str) -> None:
        """Freeze a factor for a reason that ends in the user's source line."""
        self.constraints.freeze(factor, Reason(f"{reason} at {self.where}"))

    def approximate(self, factor: Factor, reason: str) -> None:
        """Mark a factor for a reason that ends in the user's source line."""
        self.constraints.approximate_for(factor, Reason(f"{reason} at {self.where}"))

    def sum_over(self, factor: Factor) -> None:
        """Say that a sum is taken over channels, which activations do not show."""
        if not self.fed:
            reason = Reason(f"their weights are summed together at {self.where}")
            self.constraints.summed.append((factor.labels.ravel(), reason))

    def refuse(self) -> Any:
        """Freeze all that the operator touches, as many results as it has."""
        name = operator_name(self.node)
        reason = f"operator {name} has no rule for these channels at {self.where}"
        for tensor in self.tensors():
            self.constraints.freeze_all(tensor, Reason(reason))
        value = self.node.meta.get("val")
        if isinstance(value, list | tuple):
            return tuple(Labels(tuple(getattr(item, "shape", ()))) for item in value)
        return Labels(self.shape)

    def sized(self, factor: Factor, axis: int, size: int | None) -> None:
        """Channels along an axis whose length the user's code states.

        A number that a module holds will follow the channels. A length that was read
        from a tensor keeps both axes alike: they lose channels of the same places.
        """
        origin = size.origin if isinstance(size, Size) else None
        if isinstance(origin, AttributeSize):
            self.constraints.follow(origin.path, factor, axis)
        elif isinstance(origin, AxisSize) and factor.axes == frozenset([axis]):
            for other in self._read(origin):
                if other.labels.size == factor.labels.size:
                    pair = other.labels.ravel(), factor.labels.ravel()
                    self.constraints.alike.append(pair)

    def as_long_as(self, axis: int, size: int | None) -> Factor | None:
        """Labels for an axis that the user's code makes as long as it states."""
        origin = size.origin if isinstance(size, Size) else None
        if isinstance(origin, AxisSize):
            for other in self._read(origin):
                labels = other.labels.ravel()
                if len(labels) == self.shape[axis]:
                    return Factor.lying(labels, len(self.shape), axis)
        if isinstance(origin, AttributeSize):
            for path, rows in self.constraints.follows:
                if path == origin.path and rows.size == self.shape[axis]:
                    return Factor.lying(rows.ravel(), len(self.shape), axis)
        return None

    def _read(self, origin: AxisSize) -> list[Factor]:
        """The factors that lie along just the axis whose length was read."""
        value = self.values.get(origin.node)
        if not isinstance(value, Labels) or origin.axis >= len(value.shape):
            return []
        return [item for item in value.factors if item.axes == frozenset([origin.axis])]


def bound_arguments(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by the names of the ATen schema, defaults filled in."""
    if not has_schema(node.target):  # no ATen operator: it freezes what it touches
        return {str(index): value for index, value in enumerate(node.args)}
    bound = argument_defaults(node.target)
    bound.update(zip(list(bound), node.args, strict=False))
    bound.update(node.kwargs)
    return bound


def operator_name(node: fx.Node) -> str:
    """The operator's plain name: `aten.relu_.default` is `relu`."""
    return plain_name(node.target) if has_schema(node.target) else str(node.target)


def result_shape(node: fx.Node) -> Shape:
    """The shape of a node's (first) tensor result; () where there is none."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return tuple(int(size) for size in getattr(value, "shape", ()))


def with_length(shape: Shape, axis: int, length: int) -> Shape:
    """A shape with another length along one axis."""
    return (*shape[:axis], length, *shape[axis + 1 :])
