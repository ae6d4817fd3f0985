"""Files that are cut to size against files that are exported at that size."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.surgery import apply
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.measure.shortcuts import write_shortcuts_as_conv
from edgeprune.records import Plan
from tests.nets import SMALL_FAMILIES, Bottom, CifarResNet, Signal

IMAGE = (torch.randn(1, 3, 32, 32),)
CASES = {
    "flatten": (lambda: Bottom(16), (torch.randn(1, 3, 8, 8),)),
    "padded shortcuts": (lambda: CifarResNet(1), (torch.randn(1, 3, 16, 16),)),
    **{name: (make, IMAGE) for name, make in SMALL_FAMILIES.items()},
}


def halves(graph, part=3):
    return Plan(
        {
            group.name: tuple(range(max(1, group.size * 2 // part)))
            for group in graph.groups
        }
    )


def outline(path):
    """Operators with the shapes of their weights, and the numbers that they hold."""
    graph = onnx.load(path).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    return [
        (
            node.op_type,
            [shapes[name] for name in node.input if len(shapes.get(name, ())) > 1],
            [item.i for item in node.attribute if item.name == "group"],
        )
        for node in graph.node
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_cut_file_is_the_exported_one_but_for_the_values(case, tmp_path):
    make, inputs = CASES[case]
    model = make().eval()
    graph = build_channel_graph(model, inputs)
    variants = ResizedModels(model, graph, inputs, tmp_path)
    assert variants.quick
    plan = halves(graph)
    path = variants.write(plan, "cut")
    write_onnx(apply(model, graph, plan), inputs, tmp_path / "exported.onnx")
    assert outline(path) == outline(tmp_path / "exported.onnx")
    assert outline(path) != outline(variants.reference)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": inputs[0].numpy()})
    assert np.isfinite(found).all()
    assert found.shape == tuple(model(*inputs).shape)


def test_all_files_have_the_form_that_was_chosen(tmp_path):
    make, inputs = CASES["padded shortcuts"]
    model = make().eval()
    graph = build_channel_graph(model, inputs)
    variants = ResizedModels(model, graph, inputs, tmp_path, shortcuts_as_conv=True)
    plan = halves(graph)
    path, expected = variants.write(plan, "cut"), tmp_path / "exported.onnx"
    write_onnx(apply(model, graph, plan), inputs, expected)
    assert write_shortcuts_as_conv(expected, expected) == 2
    assert outline(path) == outline(expected)
    assert "Slice" not in {kind for kind, *_ in outline(variants.reference)}


def test_a_plan_with_blocks_is_exported(tmp_path):
    model, inputs = CifarResNet(2).eval(), (torch.randn(1, 3, 16, 16),)
    graph = build_channel_graph(model, inputs)
    variants = ResizedModels(model, graph, inputs, tmp_path)
    path = variants.write(Plan({}, ("layer1.1",)), "without")
    assert len(outline(path)) < len(outline(variants.reference))


def test_one_axis_signals_are_cut_too(tmp_path):
    model, inputs = Signal().eval(), (torch.randn(1, 2, 64),)
    graph = build_channel_graph(model, inputs)
    variants = ResizedModels(model, graph, inputs, tmp_path)
    assert outline(variants.write(halves(graph), "cut")) != outline(variants.reference)
