"""A file in QDQ form taken back to floats: what it rounds, it rounds no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

QUANTIZES, RESTORES = "QuantizeLinear", "DequantizeLinear"
AXIS = 1  # of the channels, where it is not said
Constants = Mapping[str, NDArray[np.generic]]


def dequantized(proto: onnx.ModelProto, constants: Constants) -> onnx.ModelProto | None:
    """The network without its pairs of QuantizeLinear and DequantizeLinear.

    Args:
        constants: of the file, by name.

    Returns:
        None where there are none, or where they do not stand in pairs.
    """
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    pairs = _Pairs(constants)
    kept = [node for node in held.graph.node if not pairs.take(node)]
    if pairs.odd or len(kept) == len(held.graph.node):
        return None
    del held.graph.node[:]
    held.graph.initializer.extend(pairs.restored)
    for node in kept:
        for at, name in enumerate(node.input):
            node.input[at] = pairs.plain.get(name, name)
    held.graph.node.extend(kept)
    for item in held.graph.output:
        if (name := pairs.plain.get(item.name)) is not None:
            held.graph.node.append(helper.make_node("Identity", [name], [item.name]))
    return held


@dataclass
class _Pairs:
    """The pairs that were taken out so far.

    Attributes:
        plain: the float value that another stands for.
        restored: constants in float.
        odd: one was met that is no part of a pair.
    """

    constants: Constants
    plain: dict[str, str] = field(default_factory=dict)
    restored: list[onnx.TensorProto] = field(default_factory=list)
    odd: bool = False

    def take(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a part of a pair, which is taken out."""
        if node.op_type == QUANTIZES:
            source = node.input[0]
            self.plain[node.output[0]] = self.plain.get(source, source)
            return True
        if node.op_type != RESTORES:
            return False
        source = node.input[0]
        if source in self.plain:
            self.plain[node.output[0]] = self.plain[source]
        elif all(name in self.constants for name in node.input):
            values = [self.constants[name] for name in node.input]
            tensor = numpy_helper.from_array(_restored(node, values), node.output[0])
            self.restored.append(tensor)
        else:
            self.odd = True
        return True


def _restored(
    node: onnx.NodeProto, parts: list[NDArray[np.generic]]
) -> NDArray[np.float32]:
    """A quantised constant as the floats that it stands for."""
    values, scale, *zero = (part.astype(np.float32) for part in parts)
    axis = next((item.i for item in node.attribute if item.name == "axis"), AXIS)
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    if zero:
        values = values - zero[0].reshape(shape)
    return (values * scale.reshape(shape)).astype(np.float32)
