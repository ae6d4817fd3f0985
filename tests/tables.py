"""Latency tables of devices whose time is known, for tests that measure nothing."""

import math
from dataclasses import replace

from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from edgeprune.measure.benchmark import parameter_shapes
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import Activation, LatencyTable, MemoryTable, OperatorTime
from tests.figures import figures_of

PRODUCT = 3  # which of the terms counts the multiplications in whole blocks


def table_of(graph, cost, *, block=1, memory=None):
    """A device that takes a time for each MAC, widths in whole blocks."""
    operators = []
    for layer in cost.layers:
        made, read = ((layer.name, axis) for axis in (0, 1))
        sizes = [
            len(graph.axes[place]) for place in (read, made) if place in graph.axes
        ]
        rounded = math.prod(-(-size // block) * block for size in sizes)
        weights = [0.0] * 10
        weights[PRODUCT] = layer.macs / cost.macs / rounded
        weights[PRODUCT + 1] = weights[PRODUCT]  # the same where little is read
        operators.append(OperatorTime(layer.name, "Conv", read, made, tuple(weights)))
    return LatencyTable(
        key="made up",
        block=block,
        cache_bytes=1e15,
        operators=tuple(operators),
        probes=0,
        errors=(0.01,),
        memory=memory or memory_of(graph, cost),
        seconds=0.0,
    )


def memory_of(graph, cost):
    """Every layer's output is alive together with the next one's."""
    values = []
    for layer in cost.layers:
        place = (layer.name, 0)
        values.append(
            Activation(place, layer.activation_bytes / len(graph.axes[place]))
        )
    alive = tuple((index, index + 1) for index in range(len(values) - 1))
    return MemoryTable(tuple(values), alive or ((0,),))


def with_cache(table, cache_bytes, *, slower):
    """The device takes so many times as long for weights that its cache lacks."""
    operators = []
    for item in table.operators:
        weights = list(item.weights)
        weights[PRODUCT + 2] = (slower - 1) * weights[PRODUCT]
        operators.append(replace(item, weights=tuple(weights)))
    return replace(table, operators=tuple(operators), cache_bytes=cache_bytes)


def costs_of(model, inputs, graph, *, latency_ms=10.0, block=1, table=None, **figures):
    """A cost model on such a device."""
    counted = count(trace(model, inputs))
    return CostModel(
        graph,
        table or table_of(graph, counted, block=block),
        original_ms=latency_ms,
        figures=figures_of(counted, latency_ms, **figures),
        shapes=parameter_shapes(model),
    )
