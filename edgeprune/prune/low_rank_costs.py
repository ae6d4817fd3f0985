"""Costs where a layer may be left as it is or be factored, whichever pays.

The program knows modules that go. A layer that may be factored is one more of them:
its factored form goes, with the groups of its ranks, and the plain layer, with times
from the plain network's own latency table, stands instead of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgeprune.graph.factored import CORE, FIRST, LAST
from edgeprune.graph.groups import ChannelGraph
from edgeprune.prune.blocks import Block, removable_blocks
from edgeprune.prune.cost_model import FLOAT_BYTES, CostModel, CostTerm, Widths
from edgeprune.prune.widths import FIXED, Steps, Width, product
from edgeprune.records import LatencyTable, LayerCost, ModelFigures, OperatorTime
from edgeprune.records.latency import Floats, WidthPlace


@dataclass(frozen=True)
class Plain:
    """The network without any layer factored.

    Attributes:
        original_ms: what the table's shares are of.
        layers: with their operations.
        shapes: of its parameters.
    """

    table: LatencyTable
    original_ms: float
    layers: tuple[LayerCost, ...]
    shapes: Mapping[str, tuple[int, ...]]


def rank_groups(graph: ChannelGraph, layer: str) -> frozenset[str]:
    """The groups of a factored layer's ranks."""
    names = {f"{layer}.{FIRST}", f"{layer}.{CORE}"}
    return frozenset(group.name for group in graph.groups if group.name in names)


class LowRankCosts(CostModel):
    """Costs of a network with every layer factored that can be, or any of them plain.

    A layer that is named among the bypassed is plain.

    Args:
        graph: of the factored network, as are table, original_ms, figures and
            shapes.
        layers: that are factored.
    """

    def __init__(  # noqa: PLR0913  two networks, measured
        self,
        graph: ChannelGraph,
        table: LatencyTable,
        *,
        original_ms: float,
        figures: ModelFigures,
        shapes: Mapping[str, tuple[int, ...]],
        reference_ms: float | None = None,
        layers: Collection[str],
        plain: Plain,
        steps: Steps | None = None,
    ) -> None:
        choices = tuple(Block(name, rank_groups(graph, name)) for name in layers)
        whole = tuple(
            block for block in removable_blocks(graph) if block.name not in layers
        )
        super().__init__(
            graph,
            table,
            original_ms=original_ms,
            reference_ms=reference_ms,
            figures=figures,
            shapes=shapes,
            steps=steps,
            blocks=(*whole, *choices),
        )
        self.choices = frozenset(layers)
        self._plain = plain
        self._layers = {item.name: item for item in plain.layers}

    def _macs(self, chosen: Widths, bypassed: Collection[str]) -> float:
        found = super()._macs(chosen, bypassed)
        for name in self._plainly(bypassed):
            read, made = self._sides(name)
            each = self._layers[f"{name}.weight"].macs / self._area(name)
            found += each * read.at(chosen) * made.at(chosen)
        return found

    def _params(self, chosen: Widths, bypassed: Collection[str]) -> float:
        found = super()._params(chosen, bypassed)
        for name in self._plainly(bypassed):
            read, made = self._sides(name)
            area = math.prod(self._plain.shapes[f"{name}.weight"][2:])
            found += area * read.at(chosen) * made.at(chosen)
            found += made.at(chosen) * (f"{name}.bias" in self._plain.shapes)
        return found

    def _latency_ms(
        self, chosen: Widths, bypassed: Collection[str], params: float
    ) -> float:
        found = super()._latency_ms(chosen, bypassed, params)
        missed = self._plain.table.missed(FLOAT_BYTES * params)
        for item in self._operators_of(self._plainly(bypassed)):
            read, made = (np.array([width.at(chosen)]) for width in self._ends(item))
            found += float(self._plain_ms(item, missed, read, made)[0])
        return found

    def _terms(self, params: float) -> list[CostTerm]:
        missed = self._plain.table.missed(FLOAT_BYTES * params)
        parts = super()._terms(params)
        for item in self._operators_of(self.choices):
            read, made = self._ends(item)
            cost = partial(self._plain_ms, item, missed)
            layer = item.layer.removesuffix(".weight")
            parts.append(CostTerm(item.layer, "latency_ms", read, made, cost, layer))
        for name in self.choices:
            weight = f"{name}.weight"
            read, made = self._sides(name)
            area = math.prod(self._plain.shapes[weight][2:])
            each = self._layers[weight].macs / self._area(name)
            parts += [
                CostTerm(weight, "macs", read, made, product(each), name),
                CostTerm(weight, "params", read, made, product(area), name),
            ]
            if f"{name}.bias" in self._plain.shapes:
                parts.append(CostTerm(weight, "params", FIXED, made, product(1), name))
        return parts

    def _plainly(self, bypassed: Collection[str]) -> list[str]:
        return [name for name in bypassed if name in self.choices]

    def _operators_of(self, layers: Collection[str]) -> list[OperatorTime]:
        weights = {f"{name}.weight" for name in layers}
        return [item for item in self._plain.table.operators if item.layer in weights]

    def _plain_ms(
        self, item: OperatorTime, missed: float, read: Floats, made: Floats
    ) -> Floats:
        plain = self._plain
        return plain.table.times(item, read, made, missed) * plain.original_ms

    def _ends(self, item: OperatorTime) -> tuple[Width, Width]:
        """The widths that a plain operator reads and makes."""
        same = Width(self._plain.table.block, ())
        read, made = (
            same if place is None else self._width(self._factored(place))
            for place in (item.read, item.made)
        )
        return read, made

    def _sides(self, layer: str) -> tuple[Width, Width]:
        """Return a layer's input and output widths."""
        weight = f"{layer}.weight"
        read, made = (self._width(self._factored((weight, axis))) for axis in (1, 0))
        return read, made

    def _area(self, layer: str) -> float:
        """The product of a layer's widths before anything is cut."""
        read, made = self._sides(layer)
        return read.at(self.sizes) * made.at(self.sizes)

    def _factored(self, place: WidthPlace) -> WidthPlace:
        """The axis of the factored network that is a plain one's."""
        parameter, axis = place
        layer, _, name = parameter.rpartition(".")
        if layer not in self.choices:
            return place
        part = FIRST if name == "weight" and axis == 1 else LAST
        return f"{layer}.{part}.{name}", axis
