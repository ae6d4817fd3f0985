"""The ONNX file of a module, as it is given to others."""

import onnx
import torch

from edgeprune.export.checkpoint import exported_program
from edgeprune.measure.onnx_file import write_onnx
from tests.nets import Bottom

X = torch.randn(1, 3, 16, 16)


def test_no_file_tells_of_the_source(tmp_path):
    """Nor is a third of it text that --max-size-mb would count."""
    write_onnx(Bottom(8), (X,), tmp_path / "net.onnx")
    content = (tmp_path / "net.onnx").read_bytes()
    for private in (b"forward", b".py", b"torch.nn.modules", b"stack_trace"):
        assert private not in content
    proto = onnx.load(tmp_path / "net.onnx")
    arrays = sum(len(item.raw_data) for item in proto.graph.initializer)
    assert len(content) < arrays + 400 * (len(proto.graph.node) + 10)


def test_nor_does_a_program_of_torch_export():
    content = exported_program(Bottom(8).eval(), (X,))
    for private in (b"File ", b"nets.py", b"site-packages"):
        assert private not in content
