"""What edgeprune needs of torch that torch does not promise is named if missing."""

import importlib
import re
from pathlib import Path

import onnx
import pytest
import torch
from torch import fx

from edgeprune.graph.torch_private import ASKED

ROOT = Path(__file__).parents[2]
NEEDED = (
    "torch._dispatch.python:enable_python_dispatcher",
    "torch._subclasses.fake_tensor:FakeTensor",
    "torch._subclasses.fake_tensor:FakeTensorMode",
    "torch.fx.experimental.proxy_tensor:ProxyTorchDispatchMode",
    "torch.utils._pytree:tree_flatten",
    "torch.utils._pytree:tree_leaves",
    "torch.utils._pytree:tree_map_only",
    "torch.utils._pytree:tree_unflatten",
    *(f"torch.nn.functional:{name}" for name in ASKED),
)


@pytest.mark.parametrize("needed", NEEDED)
def test_torch_has_what_is_needed_of_it(needed):
    module, _, name = needed.partition(":")
    assert hasattr(importlib.import_module(module), name), f"{needed} is missing"


def test_the_exporter_has_the_tables_that_are_kept(tmp_path):
    from edgeprune.graph import torch_private

    tables = torch_private._exporter_tables()
    assert [hasattr(owner, name) for owner, name, _ in tables] == 5 * [True]
    model, inputs = torch.nn.Conv2d(3, 4, 3).eval(), (torch.randn(1, 3, 8, 8),)
    with torch_private.exporter_tables_kept():
        for name in "ab":  # the second takes what was kept
            torch.onnx.export(model, inputs, tmp_path / name, verbose=False)
    torch.onnx.export(model, inputs, tmp_path / "plain", verbose=False)
    graphs = [onnx.load(tmp_path / name).graph for name in ("a", "b", "plain")]
    nodes = {str([(n.op_type, n.input, n.output) for n in g.node]) for g in graphs}
    assert len(nodes) == 1


def test_nodes_know_the_one_before_them():
    graph = fx.Graph()
    assert hasattr(graph, "_root"), "torch.fx.Graph._root is missing"
    assert hasattr(graph.placeholder("x"), "_prev"), "torch.fx.Node._prev is missing"


def test_operators_have_a_schema():
    schema = torch.ops.aten.relu.default._schema
    assert schema.name == "aten::relu"
    assert [item.name for item in schema.arguments] == ["self"]
    assert hasattr(schema.arguments[0], "default_value")


def test_nothing_private_of_torch_is_used_elsewhere():
    private = r"torch\._[a-z]|import _pytree|experimental\.proxy_tensor|\._schema\b"
    for path in sorted((ROOT / "edgeprune").rglob("*.py")):
        if path.name != "torch_private.py":
            assert not re.findall(private, path.read_text()), path
