"""The times of a network's nodes in float and in int8, and the best choice by them.

Each node has a time in either form, each value a time that its conversion takes where
it goes between nodes of different forms. The choice of least time is a minimum cut,
written as a mixed-integer program, since the error may be limited, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from edgeprune.devices.runner import NodeTime
from edgeprune.quantize.qdq import int8_nodes

CONVERTS = re.compile(r"QuantizeLinear|DequantizeLinear|Transpose|Reorder")
USUAL_NS = 0.3  # of a value that is converted, where none was seen
SEEN = 10_000  # values of a conversion that tells what one takes
ONCE_MS = 2e-3  # of each operator that converts
SOLVE_S = 10.0
Edge = tuple[int | None, int | None, float]


@dataclass
class NodeTimes:
    """Both times of each node.

    Nodes that a runtime has fused, in either form, are one unit: they stay together.

    Attributes:
        proto: the float network.
        in_float, in_int8: its profiles.
    """

    proto: onnx.ModelProto
    in_float: Sequence[NodeTime]
    in_int8: Sequence[NodeTime]
    _joined: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._joined = {node.name: node.name for node in self._nodes}
        for times in (self.in_float, self.in_int8):
            seen = {name for item in times if (name := self._node_of(item.name))}
            self._join(seen)

    @cached_property
    def able(self) -> frozenset[str]:
        """The nodes that int8 has kernels for."""
        return frozenset(node.name for node in int8_nodes(self.proto))

    def unit(self, name: str) -> str:
        """The name of the nodes that stay with a node."""
        while self._joined[name] != name:
            name = self._joined[name]
        return name

    def slow_in_int8(
        self,
        borders: float = 1.0,
        errors: Mapping[str, float] | None = None,
        limit: float = math.inf,
    ) -> frozenset[str]:
        """The nodes that are better left in float, though int8 has kernels for them.

        Args:
            borders: times what conversions seem to take.
            errors: of the outputs, by units in int8.
            limit: of the sum of their squares.
        """
        if not self.in_float or not self.in_int8:
            return frozenset()
        units = sorted(set(map(self.unit, self._joined)))
        index = {name: at for at, name in enumerate(units)}
        edges = self._edges(index)
        plain, small = self._sums(self.in_float), self._sums(self.in_int8)
        gain = [small.get(name, 0.0) - plain.get(name, 0.0) for name in units]
        cost = np.array([*gain, *(borders * ms for *_, ms in edges)])
        upper = np.ones(len(cost))
        for name in self._joined:
            if name not in self.able:
                upper[index[self.unit(name)]] = 0
        squares = np.zeros(len(cost))
        for name, error in (errors or {}).items():
            squares[index[name]] = error**2
        limits = [_borders(edges, len(units), len(cost))] if edges else []
        if errors and math.isfinite(limit):
            limits.append(LinearConstraint(squares[None], -np.inf, limit))
        whole = np.arange(len(cost)) < len(units)
        bounds: Any = (np.zeros(len(cost)), upper)
        found = milp(
            cost,
            bounds=Bounds(*bounds),
            constraints=limits,
            integrality=whole.astype(int),
            options={"time_limit": SOLVE_S},
        )
        if found.x is None:
            return frozenset()
        chosen = {name for name in units if found.x[index[name]] > 1 / 2}
        return frozenset(name for name in self.able if self.unit(name) not in chosen)

    @cached_property
    def _nodes(self) -> list[onnx.NodeProto]:
        return [node for node in self.proto.graph.node if node.op_type != "Constant"]

    @cached_property
    def _makers(self) -> dict[str, str]:
        return {name: node.name for node in self._nodes for name in node.output}

    @cached_property
    def _readers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in self._nodes:
            for name in node.input:
                found.setdefault(name, []).append(node.name)
        return found

    def _node_of(self, name: str) -> str | None:
        """The node that an operator of a profile computes; None if it converts."""
        plain = name.removeprefix("fused ").removesuffix("_nchwc")
        plain = re.sub(r"_token_\d+$", "", plain)
        return plain if plain in self._joined else self._makers.get(plain)

    def _join(self, seen: set[str]) -> None:
        """Put a node that was not seen, since it was fused, with its neighbour.

        That is what reads its values, if that is one node, or what makes them.
        """
        for node in reversed(self._nodes):
            if node.name in seen:
                continue
            readers = {
                name for out in node.output for name in self._readers.get(out, [])
            }
            makers = [self._makers[name] for name in node.input if name in self._makers]
            beside = [*readers] if len(readers) == 1 else makers[:1]
            if beside:
                self._joined[self.unit(node.name)] = self.unit(beside[0])

    def _sums(self, times: Sequence[NodeTime]) -> dict[str, float]:
        """Times by unit."""
        found: dict[str, float] = {}
        for item in times:
            node = self._node_of(item.name)
            if node is not None and not CONVERTS.search(item.operator):
                unit = self.unit(node)
                found[unit] = found.get(unit, 0.0) + item.latency_ms
        return found

    @cached_property
    def _ns(self) -> float:
        """What the conversion of a value takes, by those that were seen."""
        found = [
            1e6 * item.latency_ms / math.prod(item.made)
            for item in (*self.in_float, *self.in_int8)
            if CONVERTS.search(item.operator) and math.prod(item.made) > SEEN
        ]
        return float(np.median(found)) if found else USUAL_NS

    def _edges(self, index: Mapping[str, int]) -> list[Edge]:
        """The units that a value goes between, and what its conversion takes.

        None is the outside, which is float.
        """
        graph, shapes = self.proto.graph, dict[str, list[int]]()
        for item in (*graph.input, *graph.value_info, *graph.output):
            axes = item.type.tensor_type.shape.dim
            shapes[item.name] = [max(1, axis.dim_value) for axis in axes]
        outside = {item.name for item in graph.output}
        found: list[Edge] = []
        for name, shape in shapes.items():
            ms = ONCE_MS + 2 * math.prod(shape) * self._ns / 1e6  # and laid out anew
            maker = self._makers.get(name)
            one = None if maker is None else index[self.unit(maker)]
            ends = {index[self.unit(reader)] for reader in self._readers.get(name, [])}
            others = [*sorted(ends), *([None] if name in outside else [])]
            found += [(one, other, ms) for other in others if one != other]
        return found


def _borders(edges: Sequence[Edge], units: int, variables: int) -> LinearConstraint:
    """A conversion is there where the forms on both sides of an edge differ."""
    rows = lil_array((2 * len(edges), variables))
    for at, (one, other, _) in enumerate(edges):
        for row, sign in ((2 * at, 1.0), (2 * at + 1, -1.0)):
            rows[row, units + at] = 1.0
            if one is not None:
                rows[row, one] = sign
            if other is not None:
                rows[row, other] = -sign
    return LinearConstraint(rows.tocsr(), lb=0)
