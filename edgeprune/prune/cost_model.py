"""What a network of given widths would cost: counts exactly, milliseconds roughly.

The milliseconds are an estimate that steers the search; every plan is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.labels import Axis
from edgeprune.records import ModelFigures

Widths = Mapping[str, int]


@dataclass(frozen=True)
class Prediction:
    """Predicted cost of one choice of widths."""

    latency_ms: float
    macs: float
    params: float
    size_bytes: float


class CostModel:
    """Cost as a function of group widths.

    A layer's MACs and time shrink with the kept share of its input and output axes.

    Args:
        baseline: the network that the graph describes, measured, with its layers.
        shapes: of every parameter, by path.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        baseline: ModelFigures,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._owned = _owned(graph)
        self._length = {axis: len(channels) for axis, channels in graph.axes.items()}
        self._sizes = {group.name: group.size for group in graph.groups}
        self._shapes = shapes
        self._baseline = baseline
        timed = sum(layer.latency_ms or 0.0 for layer in baseline.layers)
        total = baseline.summary.median_ms
        # The profiler slows the run a little: bring its shares to the measured total.
        self._per_layer = {
            layer.name: (
                layer.macs,
                (layer.latency_ms or 0.0) * total / max(timed, 1e-9),
            )
            for layer in baseline.layers
        }
        self._other_ms = 0.0 if timed else total

    def predict(self, widths: Widths) -> Prediction:
        """Cost at these widths; a group that is not named keeps its size."""
        latency_ms, macs = self._other_ms, 0.0
        for name, (layer_macs, layer_ms) in self._per_layer.items():
            share = self._share(name, 0, widths) * self._share(name, 1, widths)
            latency_ms += layer_ms * share
            macs += layer_macs * share
        params = sum(
            math.prod(shape)
            * math.prod(self._share(name, axis, widths) for axis in range(len(shape)))
            for name, shape in self._shapes.items()
        )
        overhead = self._baseline.size_bytes - 4 * self._baseline.params
        return Prediction(latency_ms, macs, params, overhead + 4 * params)

    def _share(self, parameter: str, axis: int, widths: Widths) -> float:
        """The kept share of one parameter axis."""
        key = (parameter, axis)
        if key not in self._owned:
            return 1.0
        gone = sum(
            count * (1 - widths.get(group, self._sizes[group]) / self._sizes[group])
            for group, count in self._owned[key].items()
        )
        return 1 - gone / self._length[key]


def _owned(graph: ChannelGraph) -> dict[Axis, dict[str, int]]:
    """How many indices of each parameter axis belong to each group."""
    owned: dict[Axis, dict[str, int]] = {}
    for group in graph.groups:
        for member in group.members:
            count = int((member.channel_of >= 0).sum())
            owned.setdefault((member.parameter, member.axis), {})[group.name] = count
    return owned
