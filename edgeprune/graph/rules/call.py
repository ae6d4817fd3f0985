"""One operator call, as its rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import fx

from edgeprune.graph.labels import Factor, Frozen, Labels, Ledger, Shape
from edgeprune.graph.trace import source_line

Role = Literal["input", "output"]


@dataclass(frozen=True)
class Call:
    """One operator call as its rule sees it.

    Attributes:
        node: the operator in the graph.
        arguments: by the names of the ATen schema; labels in place of tensors.
        shape: of the (first) result.
        owners: the dotted path of every placeholder that is a parameter.
        roles: filled in by the rules of weighted layers: what an axis of a parameter
            is for, by (path, axis).
    """

    ledger: Ledger
    node: fx.Node
    arguments: dict[str, Any]
    shape: Shape
    owners: Mapping[str, str]
    roles: dict[tuple[str, int], Role]

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

    def path(self, name: str) -> str:
        """The dotted path behind a tensor argument; its node's name if computed."""
        source = bound_arguments(self.node)[name]
        return self.owners.get(source.name, source.name)

    def claim(self, name: str, axis: int, role: Role) -> None:
        """Say what an axis of a weight is for."""
        self.roles[self.path(name), axis] = role

    def freeze(self, factor: Factor, reason: str) -> None:
        """Freeze a factor for a reason that ends in the user's source line."""
        self.ledger.freeze(factor, Frozen(f"{reason} at {self.where}"))

    def refuse(self) -> Any:
        """Freeze all that the operator touches, as many results as it has."""
        name = operator_name(self.node)
        reason = f"operator {name} has no rule for these channels at {self.where}"
        for tensor in self.tensors():
            self.ledger.freeze_all(tensor, Frozen(reason))
        value = self.node.meta.get("val")
        if isinstance(value, list | tuple):
            return tuple(Labels(tuple(getattr(item, "shape", ()))) for item in value)
        return Labels(self.shape)


def bound_arguments(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by the names of the ATen schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:  # no ATen operator: an unknown that freezes what it touches
        return {str(index): value for index, value in enumerate(node.args)}
    bound = {item.name: item.default_value for item in schema.arguments}
    names = [item.name for item in schema.arguments]
    bound.update(zip(names, node.args, strict=False))
    bound.update(node.kwargs)
    return bound


def operator_name(node: fx.Node) -> str:
    """The operator's plain name: `aten.relu_.default` is `relu`."""
    name = str(node.target).removeprefix("aten.").split(".")[0]
    return name.rstrip("_") if not name.startswith("_") else name


def result_shape(node: fx.Node) -> Shape:
    """The shape of a node's (first) tensor result; () where there is none."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return tuple(int(size) for size in getattr(value, "shape", ()))


def with_length(shape: Shape, axis: int, length: int) -> Shape:
    """A shape with another length along one axis."""
    return (*shape[:axis], length, *shape[axis + 1 :])
