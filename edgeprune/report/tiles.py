"""The headline of a page: what a figure was, what it is, and how much that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """One figure before and after.

    Attributes:
        share: what is left of it; None where that says nothing.
    """

    name: str
    change: str
    told: str
    share: float | None

    @classmethod
    def of(
        cls,
        name: str,
        before: float | None,
        after: float | None,
        show: Callable[[float], str],
        word: str,
    ) -> Tile | None:
        """Of a figure that should be small; None where it is not known.

        Args:
            word: what it is if it is smaller, such as faster.
        """
        if not before or not after:
            return None
        times = before / after
        change = f"{times:.2f}x {word}" if times >= 1 else f"{1 / times:.2f}x as much"
        return cls(name, change, f"{show(before)} to {show(after)}", after / before)
