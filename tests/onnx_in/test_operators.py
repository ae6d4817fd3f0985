"""Every operator beside ONNX Runtime, and what torch has no counterpart of."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.onnx_in.network import network_of
from edgeprune.onnx_in.opaque import Opaque, without_gradient
from edgeprune.onnx_in.writing import written
from tests.onnx_cases import CONVERTED, IMAGE, OLDER, ROWS, UNKNOWN, normal


def model_of(kind, x, constants=(), attributes=None, opset=18, outputs=1):
    """One operator behind a sum, so that nothing of it can be folded."""
    names = ["y"]
    held = []
    for at, value in enumerate(constants):
        names.append("" if value is None else f"c{at}")
        if value is not None:
            held.append(numpy_helper.from_array(np.asarray(value), names[-1]))
    made = [f"z{at}" for at in range(outputs)]
    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node(kind, names, made, **(attributes or {})),
    ]
    elem = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", elem, x.shape)],
        [helper.make_empty_tensor_value_info(name) for name in made],
        held,
    )
    imports = [helper.make_opsetid("", opset)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def answers(proto, x):
    session = ort.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})


def compared(proto, x):
    """The network of a file that computes what the file does, written again, too."""
    net = network_of(proto)
    expected = answers(proto, x)
    with torch.no_grad():
        made = net(torch.from_numpy(x))
    made = made if isinstance(made, tuple) else (made,)
    again = answers(written(net, {net.input_names[0]: x.shape}, dynamic_batch=False), x)
    for wanted, one, other in zip(expected, made, again, strict=True):
        assert one.numpy().dtype == wanted.dtype
        assert np.allclose(one.numpy(), wanted, atol=1e-5), np.abs(one - wanted).max()
        assert np.allclose(other, wanted, atol=1e-5)
    return net


@pytest.mark.parametrize("name", CONVERTED)
def test_it_computes_what_the_runtime_does(name):
    kind, x, constants, attributes = CONVERTED[name]
    outputs = 3 if kind == "Split" else 1
    net = compared(model_of(kind, x, constants, attributes, outputs=outputs), x)
    assert not any(isinstance(item, Opaque) for item in net.modules())


@pytest.mark.parametrize("name", OLDER)
def test_older_forms_are_known(name):
    kind, x, constants, attributes, opset = OLDER[name]
    outputs = 3 if kind == "Split" else 1
    net = compared(model_of(kind, x, constants, attributes, opset, outputs), x)
    assert not any(isinstance(item, Opaque) for item in net.modules())


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_torch_has_not_the_runtime_computes(name):
    kind, x, constants, attributes, outputs = UNKNOWN[name]
    opset = 11 if name == "softmax over axes" else 18
    proto = model_of(kind, x, constants, attributes, opset, outputs)
    net = compared(proto, x)
    assert without_gradient(net) == (kind,)
    with pytest.raises(WorkloadError, match=f"{kind} of an ONNX file has no gradient"):
        net(torch.from_numpy(x).requires_grad_())


def test_a_layer_that_stands_twice_in_the_file_is_one_module():
    weight = numpy_helper.from_array(normal(6, 6, 1, 1), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"]),
    ]
    graph = helper.make_graph(
        nodes,
        "twice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_empty_tensor_value_info("c")],
        [weight],
    )
    imports = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    net = compared(onnx.shape_inference.infer_shapes(proto), IMAGE)
    assert len([item for item in net.modules() if isinstance(item, nn.Conv2d)]) == 1
    again = written(net, {net.input_names[0]: IMAGE.shape}, dynamic_batch=False)
    assert len(again.graph.initializer) == 1


def test_a_row_that_is_added_behind_a_product_is_its_bias():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["b", "a"], ["c"]),
    ]
    held = [
        numpy_helper.from_array(normal(6, 4), "w"),
        numpy_helper.from_array(normal(4), "b"),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ROWS.shape)],
        [helper.make_empty_tensor_value_info("c")],
        held,
    )
    imports = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    net = compared(onnx.shape_inference.infer_shapes(proto), ROWS)
    (layer,) = (item for item in net.modules() if isinstance(item, nn.Linear))
    assert layer.bias is not None
