"""Predicts the costs of a plan: counts exactly, time by the latency table.

The same costs come in two forms: `predict` for one plan, and `cost_tables` for the
solver, which needs every cost as a sum of tables over the widths of one or two groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edgeprune.graph.groups import ChannelGraph
from edgeprune.prune.blocks import Block, freed, removable_blocks
from edgeprune.prune.widths import FIXED, Steps, Width, axis_widths, over, product
from edgeprune.records import Budget, LatencyTable, ModelFigures, OperatorTime
from edgeprune.records.latency import Floats, WidthPlace
from edgeprune.records.surgery import inside

Widths = Mapping[str, int]
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
class CostTerm:
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
class CostTable:
    """Costs as a table over the widths of one or two groups, or of none.

    Attributes:
        groups: whose widths are the axes of the tables.
        blocks: with any of which it goes.
        instead: the block that it replaces: it counts only where that block is gone.
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
        self._widths = axis_widths(graph)
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
        return budget.most_ms(self._reference_ms)

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

    def cost_tables(self, params: float) -> list[CostTable]:
        """All costs over the widths that a solver may choose from.

        Args:
            params: about how many parameters will be left: it decides how much of
                them comes from memory in every call.
        """
        found: dict[tuple[object, ...], CostTable] = {}
        for term in self._terms(params):
            one = self._tabulated(term)
            key = (one.groups, one.blocks, one.further, one.instead)
            empty = CostTable(one.groups, one.blocks, one.further, instead=one.instead)
            whole = found.setdefault(key, empty)
            for mine, other in (
                (whole.costs, one.costs),
                (whole.slopes, one.slopes),
            ):
                for resource, values in other.items():
                    mine[resource] = mine.get(resource, 0.0) + values
        return list(found.values())

    def _terms(self, params: float) -> list[CostTerm]:
        """Operators with their time, layers with their MACs, parameters."""
        missed = self.missed(params)
        constant = Width(self.table.block, ())
        return [
            *(
                CostTerm(
                    item.layer,
                    "latency_ms",
                    self._width(item.read) if item.read else constant,
                    self._width(item.made) if item.made else constant,
                    partial(self._operator_ms, item, missed),
                )
                for item in self._operators
            ),
            *(
                CostTerm(
                    layer.name,
                    "macs",
                    self._width((layer.name, 1)),
                    self._width((layer.name, 0)),
                    product(layer.macs / self._full_size(layer.name)),
                )
                for layer in self._figures.layers
            ),
            *(
                CostTerm(
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

    def _tabulated(self, term: CostTerm) -> CostTable:
        blocks = tuple(
            block.name
            for block in self.blocks
            if inside(term.owner, (block.name,)) and not term.instead
        )
        both = (*term.read.positions, *term.made.positions)
        names = tuple(dict.fromkeys(name for name, _ in both))
        if len(names) > GRID:
            return self._sloped(term, blocks)
        read, made = (
            over(width, names, self.steps) for width in (term.read, term.made)
        )
        values = term.cost(read.ravel(), made.ravel()).reshape(read.shape)
        return CostTable(
            names, blocks, costs={term.resource: values}, instead=term.instead
        )

    def _sloped(self, term: CostTerm, blocks: tuple[str, ...]) -> CostTable:
        """Many groups on one side: a line in their sum, for each width of the other."""
        many, one = sorted(
            (term.read, term.made), key=lambda width: -len(width.positions)
        )
        same = many.positions == one.positions
        if len(one.positions) > 1:  # both sides of many groups: this one as it is
            one = Width(one.at(self.sizes), ())
        names = tuple(name for name, _ in one.positions)
        widths = over(one, names, self.steps)

        def cost(length: float) -> Floats:
            lengths = np.full(widths.size, length)
            other = lengths if same else widths.ravel()
            pair = (lengths, other) if many is term.read else (other, lengths)
            return term.cost(*pair).reshape(widths.shape)

        whole = many.at(self.sizes)
        slope = (cost(whole) - cost(whole / 2)) / (whole / 2)
        base = cost(whole) - slope * (whole - many.base)
        costs, slopes = {term.resource: base}, {term.resource: slope}
        return CostTable(names, blocks, many.positions, costs, slopes, term.instead)

    def _width(self, place: WidthPlace) -> Width:
        if place in self._widths:
            return self._widths[place]
        parameter, axis = place
        shape = self._shapes.get(parameter, ())
        return Width(float(shape[axis]) if axis < len(shape) else 1.0, ())

    def _share(self, place: WidthPlace, chosen: Widths) -> float:
        """The kept share of one parameter axis."""
        width = self._width(place)
        return width.at(chosen) / width.at(self.sizes)
