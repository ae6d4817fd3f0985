"""Networks that are given as ONNX files: the same function, or one sentence."""

from pathlib import Path

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
from edgeprune.graph.factored import Factored, structure_of
from edgeprune.graph.layers import replace_
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.onnx_in import reading
from edgeprune.onnx_in.opaque import without_gradient
from edgeprune.onnx_in.reading import load_onnx_model
from edgeprune.onnx_in.steps import Block
from edgeprune.quantize.quantize import quantize
from edgeprune.records import Plan
from tests.data_sets import coloured_parts
from tests.made_up import FAKE
from tests.nets import CifarResNet

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


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


def written(model, folder, x=X, name="net.onnx"):
    torch.manual_seed(0)
    write_onnx(model.eval(), (x[:1],), folder / name)
    return folder / name


def outputs(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: i[None].numpy()})[0] for i in x])


def test_it_is_the_same_function_of_any_number_of_samples(tmp_path):
    path = written(Shuffled(), tmp_path)
    model = load_onnx_model(path, None)
    assert np.allclose(model(X).detach(), outputs(path, X), atol=1e-5)


def test_its_channels_can_be_pruned(tmp_path):
    model = load_onnx_model(written(Shuffled(), tmp_path), None)
    graph = edgeprune.survey(model, (X[:1],))
    assert [refused.reason for refused in graph.refusals] == ["output of the network"]
    assert len(graph.groups) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "efficientnet_b0"],
)
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


class Various(nn.Module):
    """Unequal parts, a shortcut, a linear layer at each position, a slope, a norm."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 24, 3, padding=1)
        self.b, self.c = nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16)
        self.d = nn.ConvTranspose2d(24, 20, 2, 2)
        self.e, self.norm = nn.Linear(20, 40), nn.LayerNorm(40)
        self.head = nn.Linear(40, 4)

    def forward(self, x):
        one, two = self.a(x).relu().split((8, 16), 1)
        two = two + self.c(self.b(two))
        x = self.d(torch.cat([one, two], 1)).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.e(x)).relu().mean(1))


def halved(graph):
    return Plan({group.name: tuple(range(0, group.size, 2)) for group in graph.groups})


def test_what_was_pruned_is_written_as_it_computes(tmp_path):
    model = load_onnx_model(written(Various(), tmp_path), None)
    graph = edgeprune.survey(model, (X[:1],))
    assert [group.size for group in graph.groups] == [8, 16, 20, 40]
    smaller = edgeprune.apply(model, graph, halved(graph))
    assert sum(p.numel() for p in smaller.parameters()) < 0.4 * sum(
        p.numel() for p in model.parameters()
    )
    path = written(smaller, tmp_path, name="smaller.onnx")
    assert np.allclose(smaller(X).detach(), outputs(path, X), atol=1e-5)
    write_onnx(smaller, (X[:1],), tmp_path / "open.onnx", dynamic_batch=True)
    session = ort.InferenceSession(
        tmp_path / "open.onnx", providers=["CPUExecutionProvider"]
    )
    (made,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    assert np.allclose(smaller(X).detach(), made, atol=1e-5)


def test_residual_blocks_can_be_left_out_whole(tmp_path):
    model = load_onnx_model(written(CifarResNet(2).eval(), tmp_path), None)
    blocks = [item for item in model.modules() if isinstance(item, Block)]
    assert len(blocks) == 4  # of six; two change the size of their maps
    graph = edgeprune.survey(model, (X[:1],))
    names = [name for name in graph.identities if "block_of" in name.split(".")[-1]]
    assert len(names) == 4
    gone = (names[0], names[2])
    kept = {
        name: channels
        for name, channels in halved(graph).kept.items()
        if not name.startswith(gone)
    }
    plan = Plan(kept, bypassed=gone)
    smaller = edgeprune.apply(model, graph, plan)
    path = written(smaller, tmp_path, name="smaller.onnx")
    assert np.allclose(smaller(X).detach(), outputs(path, X), atol=1e-5)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    before = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert kinds.count("Conv") == before.count("Conv") - 4


def test_factored_layers_and_those_that_are_gone_are_written(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding=1)
            self.c, self.d = nn.Linear(32, 32), nn.Linear(32, 4)

        def forward(self, x):
            x = self.b(self.a(x).relu()).flatten(2).transpose(1, 2)
            return self.d(self.c(x)).mean(1)

    model = load_onnx_model(written(Plain(), tmp_path), None)
    factored = {"layers.b", "layers.c"}
    for name, layer in list(model.named_modules()):
        if name in factored or name.split(".")[-1] in ("node_conv2d_1", "MatMul_1"):
            replace_(model, name, structure_of(layer).eval())
    assert sum(isinstance(item, Factored) for item in model.modules()) >= 1
    path = written(model, tmp_path, name="factored.onnx")
    assert np.allclose(model(X).detach(), outputs(path, X), atol=1e-5)
    (inner, *_) = [
        name for name, item in model.named_modules() if isinstance(item, Factored)
    ]
    replace_(model, inner, nn.Identity())
    path = written(model, tmp_path, name="gone.onnx")
    assert np.allclose(model(X).detach(), outputs(path, X), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
        ("ch_PP-OCRv4_det_infer.onnx", (3, 192, 320)),
    ],
)
def test_networks_without_source(name, sample, tmp_path):
    """A direction classifier and a text detector, where their package is there."""
    package = pytest.importorskip("rapidocr_onnxruntime")
    path = Path(package.__file__).parent / "models" / name
    model = load_onnx_model(path, sample)
    graph = edgeprune.survey(model, (torch.randn(1, *sample),))
    assert len(graph.groups) > 20
    assert len(graph.refusals) <= 1
    smaller = edgeprune.apply(model, graph, halved(graph))
    again = written(smaller, tmp_path, torch.randn(1, *sample))
    x = torch.rand(2, *sample)
    assert np.allclose(smaller(x).detach(), outputs(again, x), atol=1e-5)
