"""Counts the costs of a network from its trace: MACs, parameters, activations.

One multiply-accumulate is one MAC. Convolutions and matrix products are counted,
elementwise work and normalisation are not: a runtime fuses them away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import fx

from edgeprune.graph.operators import operator_of
from edgeprune.graph.rules import operator_name, result_shape
from edgeprune.graph.rules.call import bound_arguments
from edgeprune.graph.trace import Trace
from edgeprune.graph.weights import weight_of
from edgeprune.records import LayerCost

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """A network's counted cost."""

    layers: tuple[LayerCost, ...]
    macs: int
    params: int


def count(traced: Trace) -> Cost:
    """Count a traced network."""
    named = layers_of(traced)
    layers = tuple(_layer(node, path) for node, path in named.items())
    products = sum(macs_of(node) for node in traced.nodes if node not in named)
    params = {
        traced.owners[node.name]: math.prod(result_shape(node))
        for node in traced.nodes
        if traced.owners.get(node.name) in traced.parameters
    }
    return Cost(
        layers=layers,
        macs=sum(layer.macs for layer in layers) + products,
        params=sum(params.values()),
    )


def layers_of(traced: Trace) -> dict[fx.Node, str]:
    """The operators that read a weight which makes channels, and that parameter."""
    return {
        node: path
        for node in traced.nodes
        if node.op == "call_function" and operator_of(node).layer
        if (path := weight_of(traced, node)) is not None
    }


def _layer(node: fx.Node, path: str) -> LayerCost:
    arguments = bound_arguments(node)
    weight, bias = arguments["weight"], arguments.get("bias")
    params = math.prod(result_shape(weight))
    params += math.prod(result_shape(bias)) if bias else 0
    return LayerCost(
        name=path,
        kind=operator_name(node),
        output_shape=result_shape(node),
        macs=macs_of(node),
        params=params,
        activation_bytes=math.prod(result_shape(node)) * FLOAT_BYTES,
    )


def macs_of(node: fx.Node) -> int:
    """Multiply-accumulates of one operator; 0 where it has none."""
    counted = operator_of(node).macs if node.op == "call_function" else None
    return 0 if counted is None else counted(node)
