"""What a network costs, counted from its trace: MACs, parameters, activations.

One multiply-accumulate is one MAC. Convolutions and matrix products are counted,
elementwise work and normalisation are not: a runtime fuses them away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from edgeprune.graph.rules import operator_name, result_shape
from edgeprune.graph.rules.call import bound_arguments
from edgeprune.graph.trace import Trace
from edgeprune.records import LayerCost

FLOAT_BYTES = 4
WEIGHTED = {
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
}
PRODUCTS = {"matmul", "bmm", "mm", "addmm", "baddbmm"}


@dataclass(frozen=True)
class Cost:
    """A network's counted cost."""

    layers: tuple[LayerCost, ...]
    macs: int
    params: int


def count(traced: Trace) -> Cost:
    """Count a traced network."""
    layers = tuple(
        _layer(traced, node) for node in traced.nodes if _is_weighted(traced, node)
    )
    products = sum(_product_macs(node) for node in traced.nodes)
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


def with_latency(
    layers: tuple[LayerCost, ...], latency_ms: Mapping[str, float]
) -> tuple[LayerCost, ...]:
    """The layers with the runtime's time for each, by the path of its weight."""
    return tuple(
        replace(layer, latency_ms=latency_ms.get(layer.name)) for layer in layers
    )


def _is_weighted(traced: Trace, node: fx.Node) -> bool:
    if node.op != "call_function" or operator_name(node) not in WEIGHTED:
        return False
    return bound_arguments(node)["weight"].name in traced.owners


def _layer(traced: Trace, node: fx.Node) -> LayerCost:
    arguments = bound_arguments(node)
    weight, bias = arguments["weight"], arguments.get("bias")
    shape, kernel = result_shape(node), result_shape(weight)
    name = operator_name(node)
    if "transpose" in name:
        positions = math.prod(result_shape(arguments["input"])[2:])
        macs = shape[0] * positions * math.prod(kernel)
    else:
        macs = math.prod(shape) * math.prod(kernel[1:])
    params = math.prod(kernel) + (math.prod(result_shape(bias)) if bias else 0)
    return LayerCost(
        name=traced.owners[weight.name],
        kind=name,
        output_shape=shape,
        macs=macs,
        params=params,
        activation_bytes=math.prod(shape) * FLOAT_BYTES,
    )


def _product_macs(node: fx.Node) -> int:
    """Of products of two activations: size of the result times what is summed."""
    if node.op != "call_function":
        return 0
    name, arguments = operator_name(node), bound_arguments(node)
    if name == "scaled_dot_product_attention":
        query, key = (result_shape(arguments[item]) for item in ("query", "key"))
        scores = math.prod(query[:-1]) * key[-2]
        return scores * query[-1] + math.prod(result_shape(node)) * key[-2]
    if name == "einsum":
        return math.prod(result_shape(node)) * _summed(arguments)
    if name not in PRODUCTS:
        return 0
    first = [item for item in node.all_input_nodes if len(result_shape(item)) > 1]
    return math.prod(result_shape(node)) * result_shape(first[-2])[-1]


def _summed(arguments: Mapping[str, Any]) -> int:
    """How many products an einsum adds up for each element of its result."""
    read, _, written = str(arguments["equation"]).replace(" ", "").partition("->")
    lengths: dict[str, int] = {}
    for text, tensor in zip(read.split(","), arguments["tensors"], strict=True):
        before, _, after = text.partition("...")
        shape = result_shape(tensor)
        lengths |= dict(zip(before, shape, strict=False))
        lengths |= dict(zip(after[::-1], shape[::-1], strict=False))
    return math.prod(size for item, size in lengths.items() if item not in written)
