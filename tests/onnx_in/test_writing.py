"""Networks that came from ONNX files, written again after surgery."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.graph.factored import Factored, structure_of
from edgeprune.graph.layers import replace_
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.onnx_in.reading import load_onnx_model
from edgeprune.onnx_in.steps import Block
from edgeprune.records import Plan
from tests.nets import CifarResNet
from tests.onnx_cases import X, outputs, written


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
