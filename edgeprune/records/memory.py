"""Activations that are alive together, as a function of a network's widths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

WidthPlace = tuple[
    str, int
]  # a parameter and one of its axes: where a width is read off


@dataclass(frozen=True)
class Activation:
    """One value that the runtime keeps.

    Attributes:
        width: the parameter axis that its size follows; None where it is always the
            same.
        each_bytes: for each position of that width, or in all.
    """

    width: WidthPlace | None
    each_bytes: float


@dataclass(frozen=True)
class MemoryTable:
    """The peak memory of activations as a function of widths.

    Attributes:
        alive: the numbers of the values that are alive while an operator runs.
    """

    values: tuple[Activation, ...]
    alive: tuple[tuple[int, ...], ...]

    def peak_bytes(self, width: Callable[[WidthPlace], float]) -> float:
        """The most bytes alive at once, at given lengths of parameter axes."""
        sizes = [
            item.each_bytes * (1.0 if item.width is None else width(item.width))
            for item in self.values
        ]
        return max(
            (sum(sizes[index] for index in held) for held in self.alive), default=0
        )
