"""int8 files: equal forms that run in int8, and what stays in float."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.forms import masked_nodes, rewrite_for_int8_
from edgeprune.quantize.quantize import quantize

X = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))
FLOATS = {"ReduceMean", "GlobalAveragePool", "BatchNormalization"}


class Gated(nn.Module):
    """Squeeze and excitation, and a mean without the axes that it is taken over."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = x * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(x, 1)))
        return self.head(x.mean((2, 3)))


class Preactivated(nn.Module):
    """A batch norm that reads two convolutions, so that none can take it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.norm, self.head = nn.BatchNorm2d(16), nn.Conv2d(16, 4, 3)

    def forward(self, x):
        y = torch.cat((self.a(x), self.b(x)), 1)
        return self.head(torch.relu(self.norm(y))).mean((2, 3))


def written(model, x, folder):
    torch.manual_seed(0)
    model(x)  # statistics of the norms
    write_onnx(model.eval(), (x[:1],), folder / "net.onnx")
    return model


def run(path, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: part.numpy()})[0] for part in x.split(1)]
    return np.concatenate(parts)


@pytest.mark.parametrize("kind", [Gated, Preactivated])
def test_the_rewritten_file_is_the_same_function(kind, tmp_path):
    written(kind(), X, tmp_path)
    proto = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "net.onnx"))
    rewrite_for_int8_(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, tmp_path / "new.onnx")
    assert {"ReduceMean", "BatchNormalization"}.isdisjoint(
        node.op_type for node in proto.graph.node
    )
    found, expected = (run(tmp_path / name, X) for name in ("new.onnx", "net.onnx"))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", [Gated, Preactivated])
def test_no_mean_and_no_norm_runs_in_float(kind, tmp_path):
    written(kind(), X, tmp_path)
    quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [(X, X)])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    ort.InferenceSession(tmp_path / "int8.onnx", options)
    graph = onnx.load(tmp_path / "as_run.onnx").graph
    assert not FLOATS & {node.op_type for node in graph.node}
    read = {name for node in graph.node for name in node.input}
    assert {item.name for item in graph.initializer} <= read


class Attention(nn.Module):
    """Attention pooling; the last rows of the map are padding."""

    def __init__(self, mask):
        super().__init__()
        self.conv, self.query = nn.Conv2d(3, 16, 3, 4, 1), nn.Linear(16, 1)
        self.head = nn.Linear(16, 4)
        self.register_buffer("mask", torch.zeros(16))
        self.mask[12:] = mask

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        scores = 20 * self.query(x).squeeze(-1) + self.mask
        return self.head((x * scores.softmax(-1).unsqueeze(-1)).sum(1))


@pytest.mark.parametrize("mask", [-torch.inf, -1e9, -1e4, -100.0])
def test_a_mask_takes_no_accuracy(mask, tmp_path):
    model = written(Attention(mask), X, tmp_path)
    quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [(X, X)])
    expected = model(X).detach().numpy()
    wrong = np.abs(run(tmp_path / "int8.onnx", X) - expected).max()
    assert wrong < 0.1 * np.abs(expected).max()
    kept = masked_nodes(onnx.load(tmp_path / "net.onnx").graph)
    assert 2 <= len(kept) <= 4  # from the addition to the softmax


def test_a_large_negative_constant_alone_is_no_mask(tmp_path):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x * 255 + torch.full((3, 1, 1), -123.7)).mean((2, 3))

    written(Shifted(), X, tmp_path)
    assert masked_nodes(onnx.load(tmp_path / "net.onnx").graph) == []


def test_a_glitch_among_the_samples_does_not_widen_the_ranges(tmp_path):
    written(Gated(), X, tmp_path)
    steps = []
    for factor in (1.0, 255.0):
        seen = X.clone()
        seen[5] *= factor
        quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [(seen, X)])
        graph = onnx.load(tmp_path / "int8.onnx").graph
        scales = [item for item in graph.initializer if item.name == "input_scale"]
        steps.append(float(onnx.numpy_helper.to_array(scales[0])))
    assert steps[1] == pytest.approx(steps[0], rel=0.1)


class Spectra(nn.Module):
    """A convolution of a spectrogram, of which ONNX Runtime cannot tell the shape."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 4)
        self.register_buffer("window", torch.hann_window(64))

    def forward(self, x):
        spectra = torch.stft(x, 64, 32, window=self.window, return_complex=True)
        x = torch.log1p(spectra.abs())[:, None]
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def test_a_spectrogram_in_the_network_does_not_keep_it_from_int8(tmp_path):
    x = torch.randn(32, 1000, generator=torch.Generator().manual_seed(1))
    model = written(Spectra(), x, tmp_path)
    quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [(x, x)])
    expected = model(x).detach().numpy()
    wrong = np.abs(run(tmp_path / "int8.onnx", x) - expected).max()
    assert wrong < 0.1 * np.abs(expected).max()
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"STFT", "QuantizeLinear"} <= kinds
