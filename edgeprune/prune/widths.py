"""The lengths of parameter axes as sums over channel groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.graph.groups import ChannelGraph
from edgeprune.records.latency import Floats, WidthPlace

Steps = Mapping[str, Sequence[int]]  # the widths to choose from, by group


@dataclass(frozen=True)
class Width:
    """A parameter axis as a sum over groups: base + each group's positions."""

    base: float
    positions: tuple[tuple[str, float], ...]  # of a channel of each group

    def at(self, widths: Mapping[str, float]) -> float:
        """The length of the axis."""
        return self.base + sum(each * widths[name] for name, each in self.positions)


FIXED = Width(1.0, ())


def product(each: float) -> Callable[[Floats, Floats], Floats]:
    """So much for each pair of positions."""
    return lambda read, made: each * read * made


def over(width: Width, names: Sequence[str], steps: Steps) -> Floats:
    """A width at every point of the grid of some groups' widths."""
    grids = np.meshgrid(
        *(np.array(steps[name], float) for name in names), indexing="ij"
    )
    each = dict(width.positions)
    found = np.full(tuple(len(steps[name]) for name in names), width.base)
    for name, grid in zip(names, grids, strict=True):
        found = found + each.get(name, 0.0) * grid
    return found


def axis_widths(graph: ChannelGraph) -> dict[WidthPlace, Width]:
    """Every parameter axis that groups have a part of."""
    owned: dict[WidthPlace, list[tuple[str, float]]] = {}
    for group in graph.groups:
        for member in group.members:
            count = int((member.channel_of >= 0).sum())
            place = (member.parameter, member.axis)
            owned.setdefault(place, []).append((group.name, count / group.size))
    sizes = {group.name: group.size for group in graph.groups}
    return {
        place: Width(
            len(graph.axes[place])
            - sum(each * sizes[name] for name, each in positions),
            tuple(positions),
        )
        for place, positions in owned.items()
    }
