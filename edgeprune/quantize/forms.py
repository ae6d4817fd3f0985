"""The same function in operators that ONNX Runtime computes in int8.

An operator without an int8 kernel is an island: its input is turned into float and its
output back. Means over a map and batch norms in front of a convolution have equal forms
without that. Masks have none: a step of a range that reaches to minus infinity holds
all scores, so what adds a mask and what follows up to the softmax stays in float.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeprune.onnx_files.graph import Constants, constants_of, has_branches, sweep_

MASK = 50.0  # a constant below -MASK that is added to scores is a mask
MASKED_BY = {"Add", "Where", "Sub", "Min"}
SOFTENED_BY = {"Softmax", "LogSoftmax", "Exp"}
MOVED_BY = {
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Slice",
}
# What masked scores may pass on their way.
BETWEEN = MASKED_BY | MOVED_BY | {"Mul", "Div", "Max", "Clip", "Cast", "ReduceMax"}
NUMBERED = 3  # axes of a map of one dimension: sample, channel, position


def rewrite_for_int8_(proto: onnx.ModelProto) -> None:
    """Write means over maps and batch norms in forms that have int8 kernels.

    Args:
        proto: with the shapes of its values, constants folded.
    """
    if has_branches(proto.graph):
        return
    constants = constants_of(proto.graph)
    ranks = _ranks(proto.graph)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        rank = ranks.get(node.input[0], 0) if node.input else 0
        if node.op_type == "ReduceMean" and rank >= NUMBERED:
            made = _pooled(node, rank, constants)
        elif node.op_type == "BatchNormalization" and rank >= NUMBERED:
            made = _scaled(node, rank, constants, proto.graph)
        else:
            made = [node]
        proto.graph.node.extend(made)
    sweep_(proto.graph)


def masked_nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of nodes that stay in float: from where a mask comes in to the softmax.

    Where no softmax follows, only what reads infinity does.
    """
    constants = constants_of(graph)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, None] = {}
    for node in graph.node:
        if node.op_type not in MASKED_BY:
            continue
        least = min(_least(constants.get(name)) for name in node.input)
        if least < -MASK:
            found |= dict.fromkeys(_up_to_softmax(node, readers))
        if least == -np.inf:
            found[node.name] = None
    return list(found)


def _ranks(graph: onnx.GraphProto) -> dict[str, int]:
    return {
        item.name: len(item.type.tensor_type.shape.dim)
        for item in [*graph.input, *graph.value_info, *graph.output]
        if item.type.tensor_type.HasField("shape")
    }


def _pooled(
    node: onnx.NodeProto, rank: int, constants: Constants
) -> list[onnx.NodeProto]:
    """A mean over all positions of a map as the pooling that it is."""
    given = {item.name: item for item in node.attribute}
    keeps = given["keepdims"].i if "keepdims" in given else 1
    axes = constants.get(node.input[1]) if len(node.input) > 1 else None
    if axes is None or sorted(int(axis) % rank for axis in axes) != list(
        range(2, rank)
    ):
        return [node]
    (source, _), (target,) = node.input, node.output
    if keeps:
        return [helper.make_node("GlobalAveragePool", [source], [target], node.name)]
    pooled = f"{target} pooled"
    return [
        helper.make_node("GlobalAveragePool", [source], [pooled], node.name),
        helper.make_node(
            "Squeeze", [pooled, node.input[1]], [target], f"{node.name} squeezed"
        ),
    ]


def _scaled(
    node: onnx.NodeProto, rank: int, constants: Constants, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """A batch norm as a convolution of each channel by itself with a kernel of one."""
    if any(name not in constants for name in node.input[1:]):
        return [node]
    held = [constants[name].astype(np.float64) for name in node.input[1:]]
    scale, shift, mean, variance = held
    given = {item.name: item for item in node.attribute}
    epsilon = given["epsilon"].f if "epsilon" in given else 1e-5
    weight = scale / np.sqrt(variance + epsilon)
    bias = shift - mean * weight
    names = [f"{node.output[0]} {part}" for part in ("weight", "bias")]
    values = (weight.reshape(-1, *[1] * (rank - 1)), bias)
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(
            numpy_helper.from_array(value.astype(np.float32), name)
        )
    return [
        helper.make_node(
            "Conv",
            [node.input[0], *names],
            [node.output[0]],
            node.name,
            group=len(scale),
            kernel_shape=[1] * (rank - 2),
        )
    ]


def _least(value: NDArray[np.generic] | None) -> float:
    """The least number of a constant of floats; 0 for anything else."""
    if value is None or value.dtype.kind != "f" or not value.size:
        return 0.0
    return float(value.astype(np.float64).min())


def _up_to_softmax(
    start: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]
) -> list[str]:
    """The nodes on the ways from one to the next softmax, both among them."""
    before: dict[str, onnx.NodeProto | None] = {start.name: None}
    waiting, found = deque([start]), dict[str, None]()
    while waiting:
        node = waiting.popleft()
        if node.op_type in SOFTENED_BY:
            step: onnx.NodeProto | None = node
            while step is not None:
                found[step.name] = None
                step = before[step.name]
            continue
        for name in node.output:
            for reader in readers.get(name, []):
                if (
                    reader.name not in before
                    and reader.op_type in BETWEEN | SOFTENED_BY
                ):
                    before[reader.name] = node
                    waiting.append(reader)
    return list(found)
