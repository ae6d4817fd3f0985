"""What every rewriting of an ONNX graph needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

WEIGHTS_APART = 4  # the version of the format from which on weights are no inputs
Constants = Mapping[str, NDArray[np.generic]]


def constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    """The constants of a graph by name, weights among them."""
    found = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def without_weights_as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A file whose inputs are what is fed; those of old exporters list weights, too."""
    weights = {item.name for item in proto.graph.initializer}
    listed = [item for item in proto.graph.input if item.name in weights]
    if not listed:
        return proto
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    for item in listed:
        held.graph.input.remove(item)
    held.ir_version = max(held.ir_version, WEIGHTS_APART)
    return held


def has_branches(graph: onnx.GraphProto) -> bool:
    """Whether a graph stands in it, which reads values that no list of inputs names."""
    kinds = {item.type for node in graph.node for item in node.attribute}
    return not kinds.isdisjoint({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})


def sweep_(graph: onnx.GraphProto) -> None:
    """Take away what nothing reads any more."""
    needed = {item.name for item in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for item in list(graph.initializer):
        if item.name not in needed:
            graph.initializer.remove(item)
