"""The ONNX file of a module, as it is given to others."""

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgeprune.errors import ExportError
from edgeprune.export.checkpoint import exported_program
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.quantize import quantize
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


class Windows(nn.Module):
    """Recovers the batch from the number of windows, as a fixed number or not."""

    def __init__(self, *, fixed):
        super().__init__()
        self.fixed, self.conv = fixed, nn.Conv2d(3, 16, 3, 2, 1)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        batch, channels, height, width = x.shape
        parts = x.view(batch, channels, height // 2, 2, width // 2, 2)
        parts = self.mix(parts.permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, channels))
        if self.fixed:
            batch = int(parts.shape[0] / (height * width / 4))
        return self.head(parts.reshape(batch, -1, channels).mean(1))


class Camera(nn.Module):
    """Takes N, H, W, C."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.conv(x.permute(0, 3, 1, 2)).relu().mean((2, 3)))


def outputs(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("kind", ["windows", "camera"])
def test_a_file_with_an_open_batch_takes_any(kind, samples, tmp_path):
    torch.manual_seed(0)
    model = (Windows(fixed=False) if kind == "windows" else Camera()).eval()
    x = torch.randn(5, 3, 16, 16) if kind == "windows" else torch.randn(5, 16, 16, 1)
    write_onnx(model, (x[:samples],), tmp_path / "net.onnx", dynamic_batch=True)
    for count in (1, 2, 5):
        expected = model(x[:count]).detach().numpy()
        found = outputs(tmp_path / "net.onnx", x[:count])
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_batch_that_the_code_makes_a_constant_of_is_refused(tmp_path):
    model = Windows(fixed=True).eval()
    with pytest.raises(ExportError, match="with 1 the file does not compute"):
        write_onnx(model, (X,), tmp_path / "net.onnx", dynamic_batch=True)
    assert not list(tmp_path.iterdir())


def test_files_load_on_runtimes_of_the_last_years(tmp_path):
    """Opset 18 and format 8, which onnxruntime 1.14 reads; no set that nothing uses."""
    write_onnx(Bottom(8), (X,), tmp_path / "net.onnx")
    quantize(tmp_path / "net.onnx", tmp_path / "net.int8.onnx", [(X, X)])
    for name in ("net.onnx", "net.int8.onnx"):
        proto = onnx.load(tmp_path / name)
        assert [(item.domain, item.version) for item in proto.opset_import] == [
            ("", 18)
        ]
        assert proto.ir_version == 8


DATA = {
    "read": lambda layer, x: x.data * 2,
    "set": lambda layer, x: setattr(layer.weight, "data", layer.weight.data / 2) or x,
    "changed": lambda layer, x: (layer.weight.data.clamp_(-0.1, 0.1), x)[1],
    "set on the input": lambda layer, x: setattr(x, "data", x.data * 2) or x,
}


@pytest.mark.parametrize("way", DATA)
def test_code_that_uses_data_is_written(way, tmp_path):
    """torch's exporter ends the process with a segmentation fault on its own."""

    class Uses(nn.Conv2d):
        def forward(self, x):
            return super().forward(DATA[way](self, x))

    torch.manual_seed(0)
    model = Uses(3, 4, 3).eval()
    again = Uses(3, 4, 3).eval()
    again.load_state_dict(model.state_dict())
    write_onnx(model, (X,), tmp_path / "net.onnx")
    expected = again(X.clone()).detach().numpy()
    assert outputs(tmp_path / "net.onnx", X) == pytest.approx(expected, abs=1e-4)
