"""A latency table from the profile of one file, where no budget is about time.

No network is probed for it. It only has to tell narrow layers that are slow from wide
ones that are fast, so that a plan for other budgets is no slower than the original.
"""

from __future__ import annotations

import math
import time

from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.measure.benchmark import Benchmark, parameter_shapes
from edgeprune.profile.memory_table import FEW, memory_of
from edgeprune.profile.probes import draw_plans
from edgeprune.records import LatencyTable, MemoryTable, ModelFigures, OperatorTime
from edgeprune.records.latency import NO_CACHE, PRODUCT, TERMS


def counted_table(
    model: nn.Module,
    graph: ChannelGraph,
    benchmark: Benchmark,
    figures: ModelFigures,
    *,
    memory: bool,
) -> LatencyTable:
    """The table of a network: a layer's time goes with its multiplications.

    Args:
        figures: of the network's file, with its layers.
        memory: activations are to be known at other widths too.

    Raises:
        ExportError: the network cannot be written as ONNX at other widths.
    """
    start, shapes = time.perf_counter(), parameter_shapes(model)
    found: list[OperatorTime] = []
    timed = all(layer.latency_ms is not None for layer in figures.layers)
    costs = [
        (layer.latency_ms or 0.0) if timed else float(layer.macs)
        for layer in figures.layers
    ]
    for layer, cost in zip(figures.layers, costs, strict=True):
        weights = [0.0] * TERMS
        each = cost / max(math.fsum(costs), 1e-30)
        weights[PRODUCT] = each / math.prod(shapes[layer.name][:2])
        read, made = (layer.name, 1), (layer.name, 0)
        found.append(OperatorTime(layer.name, layer.kind, read, made, tuple(weights)))
    held = MemoryTable((), ())
    if memory:
        with benchmark.resized(model, graph) as variants:
            held = memory_of(graph, variants, draw_plans(graph, FEW, seed=0))
    seconds = time.perf_counter() - start
    return LatencyTable("", 1, NO_CACHE, tuple(found), 0, (), held, seconds)
