"""What a network of given widths and blocks costs: counts exactly, time by the table.

The same costs come in two forms: `predict` for one plan, and `pieces` for the solver,
which needs every cost as a sum of tables over the widths of one or two groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edgeprune.graph.groups import ChannelGraph
from edgeprune.prune.blocks import Block, freed, removable_blocks
from edgeprune.records import Budget, LatencyTable, ModelFigures, OperatorTime
from edgeprune.records.latency import Floats, Place
from edgeprune.records.surgery import inside

Widths = Mapping[str, int]
Steps = Mapping[str, Sequence[int]]  # the widths to choose from, by group
Costs = dict[str, Floats]
FLOAT_BYTES = 4
GRID = 2  # groups whose widths make a table; more are taken along a line


@dataclass(frozen=True)
class Prediction:
    """Predicted cost of one choice of widths and blocks; see `Costs` for the units."""

    latency_ms: float
    latency_ratio: float
    macs: float
    params: float
    size_bytes: float
    memory_bytes: float


@dataclass(frozen=True)
class Width:
    """A parameter axis as a sum over groups: base + each group's positions."""

    base: float
    positions: tuple[tuple[str, float], ...]  # of a channel of each group

    def at(self, widths: Mapping[str, float]) -> float:
        """The length of the axis."""
        return self.base + sum(each * widths[name] for name, each in self.positions)


FIXED = Width(1.0, ())


@dataclass(frozen=True)
class Part:
    """Something whose cost depends on two widths at most: an operator, a weight.

    Attributes:
        owner: the parameter that it belongs to; it goes with the module around it.
        instead: the block that it stands for, if any.
        cost: from pairs of widths, shape (n,) each, to costs.
    """

    owner: str
    resource: str
    read: Width
    made: Width
    cost: Callable[[Floats, Floats], Floats]
    instead: str = ""


@dataclass
class Piece:
    """Costs as a table over the widths of one or two groups, or of none.

    Attributes:
        groups: whose widths are the axes of the tables.
        blocks: with any of which it goes.
        instead: the block that it stands for: it is there when that one is gone.
        slopes: what each position of further groups adds, by the width of the first
            group; for layers that read a concatenation.
    """

    groups: tuple[str, ...]
    blocks: tuple[str, ...]
    further: tuple[tuple[str, float], ...] = ()
    costs: Costs = field(default_factory=dict)
    slopes: Costs = field(default_factory=dict)
    instead: str = ""


class CostModel:
    """Cost as a function of widths and blocks.

    Args:
        graph: of the network that is pruned; it may have been pruned before.
        table: of the original network.
        original_ms: what the original network takes: the table's shares are of it.
        reference_ms: what the baseline's file takes; the same if missing.
        figures: of the network that is pruned, with its layers.
        shapes: of its parameters, by path.
        steps: the rising widths to choose from, by group; the groups' own if missing.
        blocks: modules that may go; all that can if missing.
    """

    choices: frozenset[str] = frozenset()  # blocks whose loss changes nothing

    def __init__(  # noqa: PLR0913  what is measured, and what may be chosen
        self,
        graph: ChannelGraph,
        table: LatencyTable,
        *,
        original_ms: float,
        figures: ModelFigures,
        shapes: Mapping[str, tuple[int, ...]],
        reference_ms: float | None = None,
        steps: Steps | None = None,
        blocks: tuple[Block, ...] | None = None,
    ) -> None:
        self.graph, self.table = graph, table
        self.blocks = removable_blocks(graph) if blocks is None else blocks
        self.steps = steps or {group.name: group.widths() for group in graph.groups}
        self.sizes = {group.name: group.size for group in graph.groups}
        self._figures, self._shapes = figures, shapes
        self._original_ms = original_ms
        self._reference_ms = reference_ms or original_ms
        self._widths = _axis_widths(graph)
        self._operators = [
            item for item in table.operators if item.layer in shapes or not item.layer
        ]
        layers = {item.layer for item in self._operators}
        self._lacking = {item.layer for item in table.operators} - layers

    def predict(
        self,
        widths: Widths,
        bypassed: Collection[str] = (),
        *,
        params: float | None = None,
    ) -> Prediction:
        """Cost at these widths; a group that is not named keeps its size.

        Args:
            params: the time as if so many were left; as many as there are if missing.
        """
        chosen = {
            **self.sizes,
            **widths,
            **dict.fromkeys(freed(self.blocks, bypassed), 0),
        }
        left = self._params(chosen, bypassed)
        held = left if params is None else params
        memory_bytes = self.table.memory.peak_bytes(
            lambda place: self._width(place).at(chosen)
        )
        latency_ms = self._latency_ms(chosen, bypassed, held)
        return Prediction(
            latency_ms,
            latency_ms / self._reference_ms,
            self._macs(chosen, bypassed),
            left,
            self.size_of(left),
            memory_bytes,
        )

    def _macs(self, chosen: Widths, bypassed: Collection[str]) -> float:
        return sum(
            layer.macs
            * self._share((layer.name, 0), chosen)
            * self._share((layer.name, 1), chosen)
            for layer in self._figures.layers
            if not inside(layer.name, bypassed)
        )

    def _params(self, chosen: Widths, bypassed: Collection[str]) -> float:
        return sum(
            math.prod(
                self._width((name, axis)).at(chosen) for axis in range(len(shape))
            )
            for name, shape in self._shapes.items()
            if not inside(name, bypassed)
        )

    def _latency_ms(
        self, chosen: Widths, bypassed: Collection[str], params: float
    ) -> float:
        share = self.table.share(
            lambda place: self._width(place).at(chosen),
            FLOAT_BYTES * params,
            (*bypassed, *self._lacking),
        )
        return share * self._original_ms

    def limit_ms(self, budget: Budget) -> float | None:
        """The budget's limit on time in this model's milliseconds, if there is one."""
        limits = [] if budget.latency_ms is None else [budget.latency_ms]
        if budget.latency_ratio is not None:
            limits.append(budget.latency_ratio * self._reference_ms)
        return min(limits, default=None)

    def size_of(self, params: float) -> float:
        """Bytes of the file with so many parameters."""
        return self._figures.size_bytes + self._each * (params - self._figures.params)

    def params_of(self, size_bytes: float) -> float:
        """Parameters of a file of so many bytes."""
        return (
            self._figures.params + (size_bytes - self._figures.size_bytes) / self._each
        )

    @property
    def _each(self) -> int:
        """Bytes of the file for one parameter."""
        return 1 if self._figures.precision == "int8" else FLOAT_BYTES

    def missed(self, params: float) -> float:
        """The share of so many parameters that no cache holds."""
        return self.table.missed(FLOAT_BYTES * params)

    def alive_together(self) -> list[Width]:
        """Bytes of activations while each operator runs, as sums over the groups."""
        found: list[Width] = []
        for held in self.table.memory.alive:
            base, each = 0.0, dict.fromkeys(self.sizes, 0.0)
            for item in (self.table.memory.values[index] for index in held):
                width = FIXED if item.width is None else self._width(item.width)
                base += item.each_bytes * width.base
                for name, positions in width.positions:
                    each[name] += item.each_bytes * positions
            found.append(Width(base, tuple(each.items())))
        return found

    def pieces(self, params: float) -> list[Piece]:
        """All costs over the widths that a solver may choose from.

        Args:
            params: about how many parameters will be left: it decides how much of
                them comes from memory in every call.
        """
        found: dict[tuple[object, ...], Piece] = {}
        for part in self._parts(params):
            piece = self._piece(part)
            key = (piece.groups, piece.blocks, piece.further, piece.instead)
            empty = Piece(
                piece.groups, piece.blocks, piece.further, instead=piece.instead
            )
            whole = found.setdefault(key, empty)
            for mine, other in (
                (whole.costs, piece.costs),
                (whole.slopes, piece.slopes),
            ):
                for resource, values in other.items():
                    mine[resource] = mine.get(resource, 0.0) + values
        return list(found.values())

    def _parts(self, params: float) -> list[Part]:
        """Operators with their time, layers with their MACs, parameters."""
        missed = self.missed(params)
        constant = Width(self.table.block, ())
        return [
            *(
                Part(
                    item.layer,
                    "latency_ms",
                    self._width(item.read) if item.read else constant,
                    self._width(item.made) if item.made else constant,
                    partial(self._operator_ms, item, missed),
                )
                for item in self._operators
            ),
            *(
                Part(
                    layer.name,
                    "macs",
                    self._width((layer.name, 1)),
                    self._width((layer.name, 0)),
                    product(layer.macs / self._full_size(layer.name)),
                )
                for layer in self._figures.layers
            ),
            *(
                Part(
                    name,
                    "params",
                    self._width((name, 1)) if len(shape) > 1 else FIXED,
                    self._width((name, 0)) if shape else FIXED,
                    product(math.prod(shape[2:])),
                )
                for name, shape in self._shapes.items()
            ),
        ]

    def _operator_ms(
        self, item: OperatorTime, missed: float, read: Floats, made: Floats
    ) -> Floats:
        return self.table.times(item, read, made, missed) * self._original_ms

    def _full_size(self, weight: str) -> float:
        """The product of a weight's first two widths."""
        first, second = (self._width((weight, axis)) for axis in (0, 1))
        return first.at(self.sizes) * second.at(self.sizes)

    def _piece(self, part: Part) -> Piece:
        blocks = tuple(
            block.name
            for block in self.blocks
            if inside(part.owner, (block.name,)) and not part.instead
        )
        both = (*part.read.positions, *part.made.positions)
        names = tuple(dict.fromkeys(name for name, _ in both))
        if len(names) > GRID:
            return self._sloped(part, blocks)
        read, made = (
            _over(width, names, self.steps) for width in (part.read, part.made)
        )
        values = part.cost(read.ravel(), made.ravel()).reshape(read.shape)
        return Piece(names, blocks, costs={part.resource: values}, instead=part.instead)

    def _sloped(self, part: Part, blocks: tuple[str, ...]) -> Piece:
        """Many groups on one side: a line in their sum, for each width of the other."""
        many, one = sorted(
            (part.read, part.made), key=lambda width: -len(width.positions)
        )
        same = many.positions == one.positions
        if len(one.positions) > 1:  # both sides of many groups: this one as it is
            one = Width(one.at(self.sizes), ())
        names = tuple(name for name, _ in one.positions)
        widths = _over(one, names, self.steps)

        def cost(length: float) -> Floats:
            lengths = np.full(widths.size, length)
            other = lengths if same else widths.ravel()
            pair = (lengths, other) if many is part.read else (other, lengths)
            return part.cost(*pair).reshape(widths.shape)

        whole = many.at(self.sizes)
        slope = (cost(whole) - cost(whole / 2)) / (whole / 2)
        base = cost(whole) - slope * (whole - many.base)
        costs, slopes = {part.resource: base}, {part.resource: slope}
        return Piece(names, blocks, many.positions, costs, slopes, part.instead)

    def _width(self, place: Place) -> Width:
        if place in self._widths:
            return self._widths[place]
        parameter, axis = place
        shape = self._shapes.get(parameter, ())
        return Width(float(shape[axis]) if axis < len(shape) else 1.0, ())

    def _share(self, place: Place, chosen: Widths) -> float:
        """The kept share of one parameter axis."""
        width = self._width(place)
        return width.at(chosen) / width.at(self.sizes)


def product(each: float) -> Callable[[Floats, Floats], Floats]:
    """So much for each pair of positions."""
    return lambda read, made: each * read * made


def _over(width: Width, names: Sequence[str], steps: Steps) -> Floats:
    """A width at every point of the grid of some groups' widths."""
    grids = np.meshgrid(
        *(np.array(steps[name], float) for name in names), indexing="ij"
    )
    each = dict(width.positions)
    found = np.full(tuple(len(steps[name]) for name in names), width.base)
    for name, grid in zip(names, grids, strict=True):
        found = found + each.get(name, 0.0) * grid
    return found


def _axis_widths(graph: ChannelGraph) -> dict[Place, Width]:
    """Every parameter axis that groups have a part of."""
    owned: dict[Place, list[tuple[str, float]]] = {}
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
