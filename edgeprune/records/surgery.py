"""Surgery: the changes that bring the user's own module to the compressed one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptIndices:
    """The indices that stay along one axis of a parameter or buffer."""

    parameter: str
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeldNumber:
    """A number that a module holds afterwards.

    Attributes:
        position: inside a tuple or list; None where the attribute is the number.
    """

    module: str
    attribute: str
    position: int | None
    value: int


@dataclass(frozen=True, slots=True)
class Surgery:
    """All that was changed in a module of the user's.

    Attributes:
        kept: by axis, with repeats where channels were copied.
        bypassed: modules that became an identity.
        factored: layers that became two or three; what is kept inside of them counts
            from their full ranks at the size that the layer had then.
    """

    kept: tuple[KeptIndices, ...] = ()
    numbers: tuple[HeldNumber, ...] = ()
    bypassed: tuple[str, ...] = ()
    factored: tuple[str, ...] = ()

    def same(self, other: Surgery) -> Callable[[str], bool]:
        """Tells by its path whether another surgery leaves a parameter as this does.

        Both of the same module.
        """
        alike = self.factored == other.factored
        ours, theirs = _by_parameter(self), _by_parameter(other)
        return lambda path: alike and ours.get(path) == theirs.get(path)

    def then(self, second: Surgery) -> Surgery:
        """This surgery and another one of what it left, as one of the original."""
        kept = {(item.parameter, item.axis): item.indices for item in self.kept}
        for item in second.kept:
            before = kept.get((item.parameter, item.axis))
            kept[item.parameter, item.axis] = (
                item.indices
                if before is None
                else tuple(before[index] for index in item.indices)
            )
        numbers = {_place(item): item for item in (*self.numbers, *second.numbers)}
        bypassed = (*self.bypassed, *second.bypassed)
        return Surgery(
            tuple(
                KeptIndices(parameter, axis, indices)
                for (parameter, axis), indices in kept.items()
                if not inside(parameter, second.bypassed)
            ),
            tuple(
                item
                for item in numbers.values()
                if not inside(item.module, second.bypassed)
            ),
            tuple(
                module
                for module in dict.fromkeys(bypassed)
                if not any(module.startswith(f"{other}.") for other in bypassed)
            ),
            tuple(
                layer
                for layer in dict.fromkeys((*self.factored, *second.factored))
                if not inside(layer, second.bypassed)
            ),
        )


def _by_parameter(surgery: Surgery) -> dict[str, dict[int, tuple[int, ...]]]:
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for item in surgery.kept:
        found.setdefault(item.parameter, {})[item.axis] = item.indices
    return found


def _place(item: HeldNumber) -> tuple[str, str, int | None]:
    return item.module, item.attribute, item.position


def inside(path: str, modules: Iterable[str]) -> bool:
    """Whether a parameter or module is one of some modules, or within one."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
