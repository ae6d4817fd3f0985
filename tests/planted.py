"""Faults that are planted in an ONNX file; each is called what it is found as."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def newer_format(proto):
    proto.ir_version = 11


def newer_operators(proto):
    proto.opset_import[0].version = 23


def unknown_domain(proto):
    proto.graph.node[0].domain = "my.own"
    proto.opset_import.append(helper.make_opsetid("my.own", 1))


def unused_operator_sets(proto):
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def weights_as_inputs(proto):
    item = proto.graph.initializer[0]
    info = helper.make_tensor_value_info(item.name, item.data_type, item.dims)
    proto.graph.input.append(info)


def open_shapes(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def open_batch(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def denormals(proto):
    item = next(held for held in proto.graph.initializer if len(held.dims) == 4)
    values = numpy_helper.to_array(item) * np.float32(1e-39)
    item.CopyFrom(numpy_helper.from_array(values.astype(np.float32), item.name))


def nan_weights(proto):
    item = next(held for held in proto.graph.initializer if len(held.dims) == 4)
    values = numpy_helper.to_array(item).copy()
    values[0] = np.nan
    item.CopyFrom(numpy_helper.from_array(values, item.name))


def debug_text(proto):
    proto.graph.node[0].doc_string = "/home/me/secret.py line 3\n" * 100


def unused_weights(proto):
    values = np.ones((64, 64), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(values, "nobody"))


def training_mode(proto):
    size = [proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value]
    names = ["scale", "shift", "mean", "variance"]
    for name in names:
        values = np.ones(size, np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    last = proto.graph.node[-1]
    last.output[0] = "before"
    proto.graph.node.append(
        helper.make_node(
            "BatchNormalization",
            ["before", *names],
            ["output", "new mean", "new variance"],
            training_mode=1,
        )
    )


def float64(proto):
    weight = np.ones((1,), np.float64)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "wide"))
    info = helper.make_tensor_value_info("wide out", TensorProto.DOUBLE, [1])
    proto.graph.node.append(helper.make_node("Identity", ["wide"], ["wide out"]))
    proto.graph.output.append(info)


def not_loading(proto):
    proto.graph.node[0].op_type = "Conf"


def nan_outputs(proto):
    last = proto.graph.node[-1]
    last.output[0] = "before"
    proto.graph.node.append(helper.make_node("Log", ["before"], ["output"]))


PLANTED = [
    newer_format,
    newer_operators,
    unknown_domain,
    unused_operator_sets,
    weights_as_inputs,
    open_shapes,
    open_batch,
    denormals,
    nan_weights,
    nan_outputs,
    debug_text,
    unused_weights,
    training_mode,
    float64,
    not_loading,
]
BLOCKERS = {
    newer_format,
    newer_operators,
    unknown_domain,
    nan_weights,
    training_mode,
    not_loading,
}
