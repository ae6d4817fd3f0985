"""Sizes that remember where they came from.

`forward` computes with sizes: `x.view(b, self.heads, -1)`. Once traced they are plain
numbers. Here an int carries its origin while the user's code runs, so that a rule can
tell a size that follows the network from one that somebody wrote down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

Path = tuple[str, str, int | None]  # module, attribute, position inside a tuple


@dataclass(frozen=True, slots=True)
class AxisSize:
    """The length of a tensor's axis, read by the user's code."""

    node: fx.Node
    axis: int


@dataclass(frozen=True, slots=True)
class AttributeSize:
    """A number that a module holds: `self.num_heads`, `normalized_shape[0]`."""

    path: Path


Origin = AxisSize | AttributeSize


@dataclass
class Comparisons:
    """Pairs of sizes that the user's code found to be equal."""

    equal: list[tuple[Origin, Origin]] = field(
        default_factory=list[tuple[Origin, Origin]]
    )


class Size(int):
    """An int with an origin.

    Attributes:
        origin: None where it was reckoned.
        sources: the sizes that it was reckoned from; itself where it was not.
    """

    origin: Origin | None
    sources: dict[Origin, int]
    comparisons: Comparisons

    def __new__(  # noqa: D102
        cls,
        value: int,
        origin: Origin | None,
        comparisons: Comparisons,
        sources: dict[Origin, int] | None = None,
    ) -> Size:
        made = super().__new__(cls, value)
        made.origin = origin
        made.sources = {origin: value} if origin is not None else sources or {}
        made.comparisons = comparisons
        return made

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """A copy is a plain number: code that keeps a size keeps no trace."""
        return int, (int(self),)

    def _reckoned(self, value: Any, other: object = None) -> Any:
        if type(value) is not int:
            return value
        more = other.sources if isinstance(other, Size) else {}
        return Size(value, None, self.comparisons, {**self.sources, **more})

    def __add__(self, other: int) -> Any:
        return self._reckoned(super().__add__(other), other)

    def __sub__(self, other: int) -> Any:
        return self._reckoned(super().__sub__(other), other)

    def __mul__(self, other: int) -> Any:
        return self._reckoned(super().__mul__(other), other)

    def __floordiv__(self, other: int) -> Any:
        return self._reckoned(super().__floordiv__(other), other)

    def __radd__(self, other: int) -> Any:
        return self._reckoned(super().__radd__(other), other)

    def __rsub__(self, other: int) -> Any:
        return self._reckoned(super().__rsub__(other), other)

    def __rmul__(self, other: int) -> Any:
        return self._reckoned(super().__rmul__(other), other)

    def __rfloordiv__(self, other: int) -> Any:
        return self._reckoned(super().__rfloordiv__(other), other)

    def __neg__(self) -> Any:
        return self._reckoned(super().__neg__())

    def __eq__(self, other: object) -> bool:
        equal = super().__eq__(other)
        if equal is True and isinstance(other, Size) and self.origin and other.origin:
            self.comparisons.equal.append((self.origin, other.origin))
        return equal

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


def held_numbers(model: nn.Module) -> dict[Path, int]:
    """Every whole number that a module of a model holds by itself or in a tuple."""
    found: dict[Path, int] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            if isinstance(value, tuple | list):
                items: Sequence[Any] = value
                places = dict(enumerate(items))
            else:
                places = {None: value}
            for position, item in places.items():
                if type(item) is int:  # neither a bool nor a size that is watched
                    found[path, name, position] = item
    return found


def write_numbers_(model: nn.Module, numbers: Mapping[Path, int]) -> None:
    """Set numbers that modules hold.

    Raises:
        KeyError: there is no such module, or no such attribute of its own.
        TypeError: the attribute is no number: a file may say anything.
    """
    modules = dict(model.named_modules())
    for (path, name, position), value in numbers.items():
        held = vars(modules[path])
        before = held[name] if position is None else held[name][position]
        if type(before) is not int:
            raise TypeError(f"{name!r} of {path!r} cannot become {value!r}")
        if position is None:
            held[name] = value
            continue
        items, kind = list(held[name]), type(held[name])
        items[position] = value
        held[name] = kind(*items) if hasattr(kind, "_fields") else kind(items)


@contextmanager
def holding(model: nn.Module, numbers: Mapping[Path, int]) -> Iterator[None]:
    """Other numbers inside; the model's own ones again afterwards."""
    modules = dict(model.named_modules())
    before = {(path, name): vars(modules[path])[name] for path, name, _ in numbers}
    write_numbers_(model, numbers)
    try:
        yield
    finally:
        for (path, name), value in before.items():
            vars(modules[path])[name] = value
