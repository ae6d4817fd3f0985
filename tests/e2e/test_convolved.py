"""Runs of networks whose shortcuts have no parameters, on a device that is made up."""

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

import edgeprune
from edgeprune.api.run_folder import INT8_FILE, MODEL_FILE
from edgeprune.devices.transports import FakeTransport
from edgeprune.export.session import OnnxModel
from tests.data_sets import coloured_parts as data
from tests.made_up import FAKE, by_macs, use

pytestmark = pytest.mark.slow

SLICED_MS = 0.2  # that each slice takes on this device
HINT = "shortcuts without parameters are written as convolutions"


class Shortcuts(nn.Module):
    """A stem, a block that halves the image, and another one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.down = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.inner = nn.Conv2d(32, 64, 3, padding=1)
        self.outer = nn.Conv2d(64, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        x = (self.down(x) + short).relu()
        x = (self.outer(self.inner(x).relu()) + x).relu()
        return self.head(x.mean((2, 3)))


def slices(path):
    return sum(node.op_type == "Slice" for node in onnx.load(path).graph.node)


def operator_ms(sliced_ms):
    """Operators take as many ms as they have million MACs, and slices some."""
    plain = by_macs(2.0)
    return lambda item: plain(item) + sliced_ms * (item.kind == "Slice")


class Watching(FakeTransport):
    """Takes down the names of timed files in which nothing is sliced."""

    def __init__(self, sliced_ms):
        super().__init__(operator_ms(sliced_ms))
        self.seen = []

    def run(self, job, files):
        if job.mode == "time":
            self.seen += [path.name for path in files if not slices(path)]
        return super().run(job, files)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch, tmp_path):
    """The form that another test's device is fastest in."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))


def run(monkeypatch, tmp_path, share, sliced_ms=SLICED_MS, **settings):
    """A run, and the device that it was measured on."""
    device = use(monkeypatch, Watching(sliced_ms))
    done = edgeprune.compress(
        Shortcuts(),
        data(),
        budget=share,
        max_drop=100.0,
        target=FAKE,
        train=False,
        out=tmp_path / "run",
        **{"precision": "fp32", **settings},
    )
    return done, device


def agrees(done, folder, file=MODEL_FILE, tolerance=1e-4):
    """The file computes what the delivered module does."""
    x = data()[2].tensors[0]
    with torch.no_grad():
        expected = done.model(x)
    found = OnnxModel(folder / file)(x)
    torch.testing.assert_close(
        found, expected, rtol=0, atol=tolerance * float(expected.abs().max())
    )


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_another_form_of_the_file_saves_is_not_pruned(
    monkeypatch, tmp_path, precision
):
    share = {"fp32": "92%", "int8": "46%"}[precision]
    done, _ = run(monkeypatch, tmp_path, share, precision=precision)
    report = done.report
    assert report.status == "met"
    assert not report.plans
    assert any(HINT in note for note in report.notes)
    assert slices(tmp_path / "run" / MODEL_FILE) == 0
    assert report.result.latency_ms < report.baseline.latency_ms
    agrees(done, tmp_path / "run")


def test_what_is_pruned_is_written_and_timed_in_that_form(monkeypatch, tmp_path):
    done, device = run(monkeypatch, tmp_path, "50%")
    report = done.report
    assert report.status == "met"
    assert report.plans
    assert slices(tmp_path / "run" / MODEL_FILE) == 0
    assert {"attempt.onnx", "round1.onnx"} <= set(device.seen)
    for name, figures in (
        (MODEL_FILE, report.result),
        ("baseline.onnx", report.baseline),
    ):
        expected = device.latency_ms(tmp_path / "run" / name)
        assert figures.latency_ms == pytest.approx(expected)
    assert report.baseline.latency_ms == pytest.approx(
        report.baseline.macs / 1e6 + 2 * SLICED_MS
    )
    agrees(done, tmp_path / "run")


def test_a_form_that_is_no_faster_is_not_taken(monkeypatch, tmp_path):
    done, device = run(monkeypatch, tmp_path, "50%", sliced_ms=-0.01)
    assert done.report.status == "met"
    assert not any(HINT in note for note in done.report.notes)
    assert slices(tmp_path / "run" / MODEL_FILE) == 2
    assert device.seen == ["convolved.onnx"]


def test_the_form_is_that_of_the_first_time(monkeypatch, tmp_path):
    """Two that are about as fast do not take turns."""
    for name, sliced_ms in (("first", SLICED_MS), ("second", -0.01)):
        run(monkeypatch, tmp_path / name, "50%", sliced_ms=sliced_ms)
        assert slices(tmp_path / name / "run" / MODEL_FILE) == 0


def test_int8_is_made_of_that_form(monkeypatch, tmp_path):
    done, _ = run(monkeypatch, tmp_path, "25%", precision="int8")
    assert done.report.status == "met"
    assert done.report.plans
    assert slices(tmp_path / "run" / INT8_FILE) == 0
    agrees(done, tmp_path / "run", INT8_FILE, tolerance=0.1)
    assert slices(tmp_path / "run" / MODEL_FILE) == 0
