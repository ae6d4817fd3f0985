"""A file that takes images as cameras and decoders give them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.data.preparation import Preparation
from edgeprune.onnx_files.metadata import describe_


def of_raw_images(proto: onnx.ModelProto, how: Preparation) -> onnx.ModelProto:
    """The same network behind its own preprocessing.

    Args:
        proto: with one input of shape (N, C, H, W); it stays as it is.
        how: bytes become its inputs.

    Returns:
        A network whose input of the same name has shape (N, H, W, C) and is uint8.
    """
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    graph, (given,) = held.graph, held.graph.input
    name, inner = given.name, f"{given.name} prepared"
    for node in graph.node:
        for at, read in enumerate(node.input):
            if read == name:
                node.input[at] = inner
    axes = list(given.type.tensor_type.shape.dim)
    kind = given.type.tensor_type
    kind.elem_type = TensorProto.UINT8
    del kind.shape.dim[:]
    kind.shape.dim.extend([axes[0], axes[2], axes[3], axes[1]])
    std, mean = np.array(how.std), np.array(how.mean)
    constants = {
        f"{name} factor": 1 / (how.divide_by * std),
        f"{name} offset": -mean / std,
    }
    for constant, value in constants.items():
        tensor = numpy_helper.from_array(value.astype(np.float32), constant)
        graph.initializer.append(tensor)
    steps = [
        helper.make_node("Cast", [name], [f"{name} float"], to=TensorProto.FLOAT),
        helper.make_node(
            "Mul", [f"{name} float", f"{name} factor"], [f"{name} scaled"]
        ),
        helper.make_node(
            "Add", [f"{name} scaled", f"{name} offset"], [f"{name} behind"]
        ),
        helper.make_node("Transpose", [f"{name} behind"], [inner], perm=[0, 3, 1, 2]),
    ]
    for at, step in enumerate(steps):
        step.name = step.output[0]
        graph.node.insert(at, step)
    describe_(held, {"input_format": "uint8 NHWC"})
    return held
