"""Multiply-accumulates of one operator in a traced graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import fx

from edgeprune.graph.rules.call import bound_arguments, result_shape


def convolution(node: fx.Node) -> int:
    """Count a convolution or a linear layer: each result sums over one filter."""
    kernel = result_shape(bound_arguments(node)["weight"])
    return math.prod(result_shape(node)) * math.prod(kernel[1:])


def transposed_convolution(node: fx.Node) -> int:
    """Count a transposed convolution: each position read goes through the kernel."""
    arguments = bound_arguments(node)
    kernel, read = (result_shape(arguments[name]) for name in ("weight", "input"))
    return result_shape(node)[0] * math.prod(read[2:]) * math.prod(kernel)


def recurrent(node: fx.Node) -> int:
    """Count an LSTM, GRU or RNN: each step of each sample meets every weight."""
    arguments = bound_arguments(node)
    read = arguments["input"] if "input" in arguments else arguments["data"]
    weights = [result_shape(item) for item in arguments["params"]]
    steps = math.prod(result_shape(read)[:-1])
    return steps * sum(math.prod(shape) for shape in weights if len(shape) > 1)


def product(node: fx.Node) -> int:
    """Count a matrix product: size of the result times what is summed."""
    matrices = [item for item in node.all_input_nodes if len(result_shape(item)) > 1]
    return math.prod(result_shape(node)) * result_shape(matrices[-2])[-1]


def attention(node: fx.Node) -> int:
    """Count scaled dot-product attention: the scores, and what they weigh."""
    arguments = bound_arguments(node)
    query, key = (result_shape(arguments[name]) for name in ("query", "key"))
    scores = math.prod(query[:-1]) * key[-2]
    return scores * query[-1] + math.prod(result_shape(node)) * key[-2]


def einsum(node: fx.Node) -> int:
    """Count an einsum: size of the result times what is summed."""
    return math.prod(result_shape(node)) * _summed(bound_arguments(node))


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
