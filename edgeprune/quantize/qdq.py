"""A float network and ranges of its tensors as a file in QDQ form.

Weights are int8, symmetric, a scale for each output channel; activations one scale and
zero point for each tensor. The runtime fuses what it can compute in integers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.quantize.form import TINY, Int8Form, power_of_two
from edgeprune.quantize.ranges import Range, Seen

WEIGHT, BIAS = 1, 2  # inputs of a layer
Weights = NDArray[np.float64]


def int8_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that the runtime may compute in int8, or move as int8."""
    return [node for node in proto.graph.node if onnx_operator(node.op_type).int8]


def tensors_of(proto: onnx.ModelProto) -> list[str]:
    """The activations that are to be quantised: what those nodes read and make."""
    held = {item.name for item in proto.graph.initializer}
    floats = _float_tensors(proto)
    found: dict[str, None] = {}
    for node in int8_nodes(proto):
        for name in (*node.input, *node.output):
            if name and name not in held and name in floats:
                found[name] = None
    return list(found)


def in_int8(
    proto: onnx.ModelProto, ranges: Mapping[str, Range], form: Int8Form
) -> onnx.ModelProto:
    """The network in QDQ form.

    Args:
        proto: with the shapes of its values; it stays as it is.
        ranges: of all tensors that are quantised.
    """
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    quantized = {node.name for node in int8_nodes(proto)} - set(form.in_float)
    rest = [node.name for node in proto.graph.node if node.name not in quantized]
    data: dict[str, Any] = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in form.ranges(ranges).items()
    }
    options: dict[str, Any] = {"ActivationSymmetric": form.powers_of_two}
    if form.powers_of_two:
        options["TensorQuantOverrides"] = _powers_of_two(held, quantized, form)
    quantizer = QDQQuantizer(
        held,
        per_channel=not form.per_tensor,
        reduce_range=form.narrow,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if form.signed else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=rest,
        op_types_to_quantize=sorted({node.op_type for node in int8_nodes(proto)}),
        extra_options=options,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


def _powers_of_two(
    proto: onnx.ModelProto, quantized: Collection[str], form: Int8Form
) -> dict[str, Any]:
    """Steps of weights that shift."""
    constants = {item.name: item for item in proto.graph.initializer}
    found: dict[str, Any] = {}
    for node in int8_nodes(proto):
        weight = constants.get(node.input[WEIGHT]) if len(node.input) > 1 else None
        if weight is None or node.name not in quantized:
            continue
        most = max(np.abs(numpy_helper.to_array(weight)).max(initial=0), TINY)
        step = power_of_two(np.array(most / form.weight_levels))
        found[weight.name] = [
            {
                "quant_type": QuantType.QInt8,
                "scale": np.array(step, np.float32),
                "zero_point": np.array(0, np.int8),
            }
        ]
    return found


def correct_biases_(
    proto: onnx.ModelProto, seen: Mapping[str, Seen], form: Int8Form
) -> None:
    """Take from each layer's bias what rounding its weights adds on average.

    A rounded weight is off by a little, always to the same side; over many inputs that
    is a shift of the layer's outputs. (Nagel et al., "Data-free quantization through
    weight equalization and bias correction", ICCV 2019, section 4.2.)
    """
    constants = {item.name: item for item in proto.graph.initializer}
    for node in int8_nodes(proto):
        if node.op_type != "Conv" or node.input[0] not in seen:
            continue
        weight = constants.get(node.input[WEIGHT])
        if weight is None or node.name in form.in_float:
            continue
        values = numpy_helper.to_array(weight).astype(np.float64)
        mean = seen[node.input[0]].mean
        shift = _shift(values, mean, form.weight_levels)
        if shift is not None:
            _add_to_bias_(proto.graph, node, constants, -shift)


def _shift(values: Weights, mean: Weights, levels: int) -> Weights | None:
    """What a convolution's outputs change by on average, shape (out,)."""
    each = tuple(range(1, values.ndim))
    steps = np.abs(values).max(axis=each, keepdims=True) / levels
    steps[steps == 0] = 1.0
    off = np.rint(values / steps) * steps - values
    taps = off.reshape(*off.shape[:2], -1).sum(-1)  # (out, in of its group)
    out, inside = taps.shape
    if len(mean) % inside or out % (len(mean) // inside):
        return None
    groups = len(mean) // inside
    means = mean.reshape(groups, 1, inside)
    return (taps.reshape(groups, out // groups, inside) * means).sum(-1).reshape(-1)


def _add_to_bias_(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    values: Weights,
) -> None:
    name = f"{node.output[0]} corrected bias"
    before = 0.0
    if len(node.input) > BIAS and node.input[BIAS]:
        held = constants.get(node.input[BIAS])
        if held is None:  # computed
            return
        before = numpy_helper.to_array(held).astype(np.float64)
        del node.input[BIAS]
    tensor = numpy_helper.from_array((before + values).astype(np.float32), name)
    graph.initializer.append(tensor)
    constants[name] = tensor
    node.input.append(name)


def _float_tensors(proto: onnx.ModelProto) -> set[str]:
    graph = proto.graph
    return {
        item.name
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
