"""Shortcuts without parameters as convolutions, which a runtime keeps in its layout.

Where a stage begins, a residual network may take every other position of its input and
fill up with channels of zeros; He et al., "Deep Residual Learning for Image
Recognition", 2016, option A. ONNX Runtime convolves in a blocked layout that Slice and
Pad do not know: it reorders before and after them, and as it cannot fuse the addition
behind them, before and after every addition of the stage. A 1x1 convolution of zeros
and ones is the same map, of finite values exactly, and stays in the layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeprune.files import write_whole
from edgeprune.onnx_files.graph import (
    Constants,
    constants_of,
    has_branches,
    sweep_,
)

SELECTION = "selection "  # what the weight of such a convolution is called first
IMAGE_DIMS = 4
CHANNELS, HEIGHT, WIDTH = 1, 2, 3  # axes
OPEN = -1  # length of an axis that the file leaves open
SLICED_BY = 4  # inputs of a slice beside its data: starts, ends, axes, steps
FILLING = {"Pad", "Concat"}
REFUSED = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError)


def write_shortcuts_as_conv(source: Path, target: Path) -> int:
    """Write an ONNX file anew with its shortcuts without parameters as convolutions.

    Returns:
        How many there are; nothing is written without any.
    """
    proto = onnx.load(source)
    nodes = proto.graph.node
    if not any(node.op_type in FILLING for node in nodes) or has_branches(proto.graph):
        return 0
    try:
        found = list(_selections(proto))
        for selection in found:
            _convolve_(proto.graph, selection)
        if found:
            sweep_(proto.graph)
            onnx.checker.check_model(proto, full_check=True)
    except REFUSED:  # the conversion is optional: the file stays as it is
        return 0
    if found:
        write_whole(target, proto.SerializeToString())
    return len(found)


@dataclass(frozen=True)
class _Selection:
    """A map from channels at some positions to as many channels and more.

    Attributes:
        node: that makes its output.
        source: the value that it reads.
        channels: of that.
        before, after: channels of zeros that are added.
        strides: along height and width.
    """

    node: onnx.NodeProto
    source: str
    channels: int
    before: int
    after: int
    strides: tuple[int, int]


def _selections(proto: onnx.ModelProto) -> Iterator[_Selection]:
    graph = proto.graph
    constants = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    shapes = _shapes(proto)
    for node in graph.node:
        filled = _filled_up(node, constants, shapes)
        if filled is None:
            continue
        source, before, after = filled
        strides = [1, 1]
        while (step := _strided(makers.get(source), constants, shapes)) is not None:
            source = makers[source].input[0]
            strides = [old * new for old, new in zip(strides, step, strict=True)]
        channels = shapes.get(source, (OPEN, OPEN))[CHANNELS]
        if channels > 0:
            both = strides[0], strides[1]
            yield _Selection(node, source, channels, before, after, both)


def _filled_up(
    node: onnx.NodeProto, constants: Constants, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, int, int] | None:
    """Find the input that a node pads with zero channels, and how many on each side."""
    if len(shapes.get(node.output[0], ())) != IMAGE_DIMS or node.domain:
        return None
    if node.op_type == "Pad":
        return _padded(node, constants)
    if node.op_type != "Concat" or _attribute(node, "axis") not in {1, 1 - IMAGE_DIMS}:
        return None
    made = [name for name in node.input if name not in constants]
    if len(made) != 1 or len(node.input) == 1:
        return None
    if any(constants[name].any() for name in node.input if name in constants):
        return None
    at = list(node.input).index(made[0])
    widths = [
        constants[name].shape[CHANNELS] if name in constants else 0
        for name in node.input
    ]
    return made[0], sum(widths[:at]), sum(widths[at:])


def _padded(node: onnx.NodeProto, constants: Constants) -> tuple[str, int, int] | None:
    source, amounts, value, axes = (*node.input, "", "", "")[:4]
    if _attribute(node, "mode") not in {None, b"constant"} or amounts not in constants:
        return None
    if value and (value not in constants or constants[value].any()):
        return None
    if axes and axes not in constants:
        return None
    pads = constants[amounts].tolist()
    where = constants[axes].tolist() if axes else list(range(IMAGE_DIMS))
    by_axis = {
        axis % IMAGE_DIMS: (pads[at], pads[at + len(where)])
        for at, axis in enumerate(where)
    }
    before, after = by_axis.pop(CHANNELS, (0, 0))
    if min(before, after) < 0 or before + after == 0 or np.any(list(by_axis.values())):
        return None
    return source, before, after


def _strided(
    node: onnx.NodeProto | None,
    constants: Constants,
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[int, int] | None:
    """The steps of a slice that takes every so many positions of an image, from 0."""
    if node is None or node.op_type != "Slice" or node.domain:
        return None
    source, *where = node.input
    if any(name not in constants for name in where) or len(where) != SLICED_BY:
        return None
    before, after = shapes.get(source, ()), shapes.get(node.output[0], ())
    if len(before) != IMAGE_DIMS or len(after) != IMAGE_DIMS:
        return None
    starts, _, axes, steps = (constants[name].tolist() for name in where)
    by_axis = {axis % IMAGE_DIMS: step for axis, step in zip(axes, steps, strict=True)}
    if any(starts) or not by_axis.keys() <= {HEIGHT, WIDTH}:
        return None
    for axis, step in by_axis.items():
        size = before[axis]
        if min(size, step) < 1 or after[axis] != math.ceil(size / step):
            return None
    return by_axis.get(HEIGHT, 1), by_axis.get(WIDTH, 1)


def _convolve_(graph: onnx.GraphProto, selection: _Selection) -> None:
    """Put a convolution in the place of the node that makes the output."""
    node, count = selection.node, selection.channels
    weight = np.zeros(
        (selection.before + count + selection.after, count, 1, 1), np.float32
    )
    weight[np.arange(count) + selection.before, np.arange(count)] = 1
    name = f"{SELECTION}{node.output[0]}"
    graph.initializer.append(numpy_helper.from_array(weight, name))
    convolution = helper.make_node(
        "Conv",
        [selection.source, name],
        list(node.output),
        name=node.name,
        kernel_shape=[1, 1],
        strides=list(selection.strides),
    )
    node.CopyFrom(convolution)


def _shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every value in float32."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    return {
        item.name: tuple(
            axis.dim_value if axis.HasField("dim_value") else OPEN
            for axis in item.type.tensor_type.shape.dim
        )
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }


def _attribute(node: onnx.NodeProto, name: str) -> object:
    """An attribute's value; None where the node has none of the name."""
    found = [item for item in node.attribute if item.name == name]
    return helper.get_attribute_value(found[0]) if found else None
