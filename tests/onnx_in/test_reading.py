"""Networks that are given as ONNX files: the same function, or one sentence."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torchvision
from onnx import helper, numpy_helper
from torch import nn

import edgeprune
from edgeprune.errors import WorkloadError
from edgeprune.onnx_files.providers import advice
from edgeprune.onnx_in import reading
from edgeprune.onnx_in.opaque import without_gradient
from edgeprune.onnx_in.reading import load_onnx_model
from edgeprune.quantize.quantize import quantize
from tests.data_sets import coloured_parts
from tests.made_up import FAKE
from tests.onnx_cases import X, outputs, written


class Shuffled(nn.Module):
    """A residual sum, a channel shuffle and a flattening, all by fixed numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        x = x + self.b(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(nn.functional.hardswish(x).mean((2, 3)))


def test_it_is_the_same_function_of_any_number_of_samples(tmp_path):
    path = written(Shuffled(), tmp_path)
    model = load_onnx_model(path, None)
    assert np.allclose(model(X).detach(), outputs(path, X), atol=1e-5)


def test_its_channels_can_be_pruned(tmp_path):
    model = load_onnx_model(written(Shuffled(), tmp_path), None)
    graph = edgeprune.survey(model, (X[:1],))
    assert [refused.reason for refused in graph.refusals] == ["output of the network"]
    assert len(graph.groups) == 1


def test_shapes_that_others_left_behind_are_not_believed(tmp_path):
    """Files whose channels were taken away, and whose lists of shapes were not."""
    path = written(Shuffled(), tmp_path)
    expected = outputs(path, X)
    proto = onnx.shape_inference.infer_shapes(onnx.load(path))
    for item in proto.graph.value_info:
        for axis in item.type.tensor_type.shape.dim:
            axis.dim_value += 8
    onnx.save(proto, path)
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.shape_inference.infer_shapes(proto)
    model = load_onnx_model(path, None)
    assert np.allclose(model(X).detach(), expected, atol=1e-5)
    assert advice(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x1_0"])
def test_torchvision_comes_back_with_all_its_groups(tmp_path, name):
    model = torchvision.models.get_model(name, weights=None)
    x = torch.randn(2, 3, 64, 64)
    model(x)
    path = written(model, tmp_path, x)
    found = edgeprune.survey(load_onnx_model(path, None), (x[:1],))
    own = edgeprune.survey(model.eval(), (x[:1],))
    assert len(found.refusals) == len(own.refusals) == 1
    assert sum(group.size for group in found.groups) >= 0.9 * sum(
        group.size for group in own.groups
    )


def test_a_run_keeps_the_names_of_its_file(tmp_path, monkeypatch):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                *(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            )
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            return self.head(self.net(x))

    data = coloured_parts()
    x = next(iter(data[0]))[0][None]
    proto = onnx.load(written(Named(), tmp_path, x))
    proto.graph.input[0].name = "pixels"
    proto.graph.output[0].name = "scores"
    for node in proto.graph.node:
        for names, old, new in (
            (node.input, "input", "pixels"),
            (node.output, "output", "scores"),
        ):
            for at, name in enumerate(names):
                names[at] = new if name == old else name
    onnx.save(proto, tmp_path / "named.onnx")
    monkeypatch.chdir(tmp_path)
    done = edgeprune.compress(
        "named.onnx",
        data,
        budget="60%",
        target=FAKE,
        max_drop=100,
        train=False,
        out=tmp_path / "run",
    )
    assert done.report.status == "met", done.report.sentence
    session = ort.InferenceSession(
        done.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].name == "pixels"
    assert session.get_outputs()[0].name == "scores"
    again = edgeprune.load(done.folder, "named.onnx")
    assert torch.allclose(again(x[:2]), done.model(x[:2]))


def refused(path, sample=None):
    with pytest.raises(WorkloadError) as caught:
        load_onnx_model(path, sample)
    return str(caught.value)


def test_what_cannot_be_taken_is_said_in_a_sentence(tmp_path):
    (tmp_path / "bad.onnx").write_text("no network")
    assert "no ONNX file that can be read" in refused(tmp_path / "bad.onnx")
    assert "no ONNX file" in refused(tmp_path / "missing.onnx")
    path = written(Shuffled(), tmp_path)
    assert "does not take --input 3x16x16" in refused(path, (3, 16, 16))
    quantize(path, tmp_path / "int8.onnx", [(X, X)])
    assert "in int8 already" in refused(tmp_path / "int8.onnx")
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(proto, tmp_path / "open.onnx")
    assert "give --input, such as" in refused(tmp_path / "open.onnx")
    assert load_onnx_model(tmp_path / "open.onnx", (3, 32, 32)) is not None


def test_several_inputs_and_outputs_are_taken_by_name(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.net = nn.Embedding(5, 3), Shuffled()

        def forward(self, image, kind):
            scores = self.net(image + self.rows(kind)[:, :, None, None])
            return scores, scores.argmax(1)

    model, kind = Two().eval(), torch.arange(4)
    with torch.no_grad():
        torch.onnx.export(
            model,
            (X[:1], kind[:1]),
            tmp_path / "two.onnx",
            dynamo=True,
            verbose=False,
            input_names=["image", "kind"],
            output_names=["scores", "best"],
        )
    found = load_onnx_model(tmp_path / "two.onnx", None)
    assert (found.input_names, found.output_names) == (
        ("image", "kind"),
        ("scores", "best"),
    )
    scores, best = model(X, kind)
    for made in (found(X, kind), found(kind=kind, image=X)):
        assert torch.allclose(made[0], scores, atol=1e-5)
        assert torch.equal(made[1], best)


def test_a_module_that_errs_is_found_out(tmp_path, monkeypatch):
    path = written(Shuffled(), tmp_path)

    def is_replaced_by(model):
        monkeypatch.setattr(reading, "network_of", lambda _: model)
        return refused(path)

    other = nn.Sequential(Shuffled(), nn.Linear(4, 4))
    assert "otherwise than the file on one sample: by" in is_replaced_by(other)
    other = nn.Sequential(Shuffled(), nn.Flatten(0))
    assert "shape (4,) in place of (1, 4)" in is_replaced_by(other)
    assert "does not run on one sample" in is_replaced_by(nn.Linear(3, 3))


def test_what_holds_for_one_sample_only_is_said(tmp_path):
    class Merged(nn.Module):
        def forward(self, x):
            return torch.relu(x).reshape(3, -1).mean(0, keepdim=True).cumsum(1)

    path = written(Merged(), tmp_path, torch.randn(1, 3, 4, 4))
    assert "answers otherwise than the file on 3 samples at a time" in refused(path)


def test_constants_that_the_conversion_makes_are_no_operators(tmp_path):
    nodes = [
        helper.make_node("Squeeze", ["x"], ["a"], axes=[3]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Unsqueeze", ["b"], ["y"], axes=[3]),
    ]
    ends = [
        helper.make_tensor_value_info("x", 1, [1, 3, 8, 1]),
        helper.make_tensor_value_info("y", 1, [1, 4, 6, 1]),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "old", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
    )
    imports = [helper.make_opsetid("", 11)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=6)
    onnx.save(proto, tmp_path / "old.onnx")
    model = load_onnx_model(tmp_path / "old.onnx", None)
    assert without_gradient(model) == ()
    x = torch.randn(2, 3, 8, 1)
    path = written(model, tmp_path, x, name="new.onnx")
    assert np.allclose(model(x).detach(), outputs(path, x), atol=1e-5)


def test_a_graph_in_a_graph_is_refused(tmp_path):
    branch = [
        helper.make_graph(
            [helper.make_node(kind, ["x"], ["z"])],
            kind,
            [],
            [helper.make_empty_tensor_value_info("z")],
        )
        for kind in ("Relu", "Abs")
    ]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "one"], ["is"]),
        helper.make_node(
            "If", ["is"], ["y"], then_branch=branch[0], else_branch=branch[1]
        ),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    one = numpy_helper.from_array(np.float32(1), "one")
    graph = helper.make_graph(nodes, "branches", ends[:1], ends[1:], [one])
    imports = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.save(proto, tmp_path / "branches.onnx")
    message = "an operator that cannot be run by itself (If: no counterpart"
    assert message in refused(tmp_path / "branches.onnx")
