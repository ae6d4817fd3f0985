"""Faults that were planted in an ONNX file are found; a clean one has none."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.doctor import speed
from edgeprune.doctor.examine import examine
from edgeprune.errors import MeasurementError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.quantize import quantize
from tests.commands import command
from tests.planted import BLOCKERS, PLANTED, denormals, newer_format, open_shapes

NAMES = ("train", "test")
pytestmark = pytest.mark.xdist_group("measuring")


class Net(nn.Module):
    """Convolutions, an addition and a head."""

    def __init__(self, width=32):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.head(torch.relu(x + self.b(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The file of a small network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("doctor") / "net.onnx"
    write_onnx(Net().eval(), (torch.randn(1, 3, 24, 24),), path)
    return path


@pytest.fixture
def proto(clean):
    """Its content, to plant something in."""
    return onnx.load(clean)


def quick(**limits):
    """A runner of this machine that measures briefly."""
    target = targets.load("host")
    recipe = {"warmup": 1, "warmup_s": 0.0, "iterations": 2, "seconds": 0.02}
    target = target.model_copy(
        update={
            "timing": target.timing.model_copy(update={**recipe, "rounds": 2}),
            "limits": target.limits.model_copy(update=limits),
        }
    )
    return runner_for(target)


def found_in(path, runner=None, **gate):
    """What is found, by name."""
    held = examine(path, runner or quick(), **gate)
    return {item.name: item for item in held.findings}


def saved(proto, folder):
    path = folder / "planted.onnx"
    onnx.save(proto, path)
    return path


def test_a_clean_file_has_nothing(clean):
    held = examine(clean, quick())
    assert held.findings == ()
    assert held.passed
    assert held.summary.median_ms > 0
    assert held.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(proto, tmp_path, plant):
    plant(proto)
    found = found_in(saved(proto, tmp_path))
    assert plant.__name__ in found
    assert (found[plant.__name__].severity == "blocker") == (plant in BLOCKERS)


def test_what_denormals_cost_is_measured(proto, tmp_path):
    denormals(proto)
    assert found_in(saved(proto, tmp_path))["denormals"].ms is not None


def test_weights_in_a_file_beside_it(proto, tmp_path):
    path = tmp_path / "planted.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w", size_threshold=0)
    assert found_in(path)["external_data"].severity == "warning"
    (tmp_path / "w").unlink()
    assert found_in(path)["missing_data"].severity == "blocker"


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"file_mb": 0.001}, "too_large"), ({"memory_mb": 0.01}, "too_much_memory")],
)
def test_limits_of_the_target(clean, limits, name):
    assert found_in(clean, quick(**limits))[name].severity == "blocker"


def test_a_provider_that_is_not_there_is_no_silent_fallback(clean):
    runner = quick()
    runtime = runner.target.runtime.model_copy(update={"provider": "NnapiProvider"})
    target = runner.target.model_copy(update={"runtime": runtime})
    assert found_in(clean, replace(runner, target=target))["falls_back"].severity == (
        "blocker"
    )


def test_open_lengths_are_told_before_anything_is_timed(proto, tmp_path):
    open_shapes(proto)
    path = saved(proto, tmp_path)
    held = examine(path, quick())
    assert held.summary is None
    assert "not_measured" in {item.name for item in held.findings}
    assert examine(path, quick(), sample=(3, 24, 24)).summary.median_ms > 0
    with pytest.raises(MeasurementError, match="does not take --input 5x24x24"):
        examine(path, quick(), sample=(5, 24, 24))


def test_what_phones_leave_to_the_processor(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.erf(x) + torch.linalg.det(x[:, :, :3, :3])[..., None, None]

    write_onnx(Odd().eval(), (torch.randn(1, 3, 8, 8),), tmp_path / "net.onnx")
    runner = quick()
    target = runner.target.model_copy(update={"transport": "adb"})
    found = found_in(tmp_path / "net.onnx", replace(runner, target=target))
    assert "NNAPI knows" in found["phone_providers"].what or "CoreML" in (
        found["phone_providers"].what
    )


def test_the_gate(clean):
    assert "too_slow" in found_in(clean, max_ms=1e-6)
    assert "too_slow" not in found_in(clean, max_ms=1e6)
    assert "too_inaccurate" in found_in(clean, accuracy=0.8, min_accuracy=0.9)
    assert "too_inaccurate" in found_in(clean, min_accuracy=0.9)
    assert "too_inaccurate" not in found_in(clean, accuracy=0.91, min_accuracy=0.9)


def test_uneven_widths(tmp_path):
    path = tmp_path / "net.onnx"
    write_onnx(Net(33).eval(), (torch.randn(1, 3, 24, 24),), path)
    assert "a.weight (33)" in found_in(path)["uneven_widths"].what


def test_a_norm_that_nothing_takes(tmp_path):
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 8, 3), nn.Flatten())
    write_onnx(net.eval(), (torch.randn(1, 3, 24, 24),), tmp_path / "net.onnx")
    assert found_in(tmp_path / "net.onnx")["unfolded_norms"].ms is not None


def test_layouts_that_change_between_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "MUCH", 0.0)  # whatever else runs here

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)

        def forward(self, x):
            for layer in (self.a, self.b):
                x = layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
                x = torch.softmax(x, -1)
            return x

    path = tmp_path / "net.onnx"
    write_onnx(Turned().eval(), (torch.randn(1, 64, 64, 64),), path)
    assert found_in(path)["layouts"].ms > 0


@pytest.fixture
def batches():
    x = torch.randn(16, 3, 24, 24)
    return [(x, torch.zeros(16))]


def test_float_between_int8(tmp_path, batches):
    class Island(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)

        def forward(self, x):
            return self.b(torch.erf(self.a(x)))

    write_onnx(Island().eval(), (batches[0][0][:1],), tmp_path / "net.onnx")
    quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", batches)
    found = found_in(tmp_path / "int8.onnx")["float_islands"]
    assert "Erf" in found.what
    assert found.ms > 0


def test_signed_activations_on_x86(clean, tmp_path, batches):
    quantize(clean, tmp_path / "int8.onnx", batches, form=Int8Form(signed=True))
    found = found_in(tmp_path / "int8.onnx")
    machine = quick().device.machine.architecture
    assert ("signed_activations" in found) == (machine in ("x86_64", "amd64"))


def test_int8_that_is_slower_than_float(tmp_path):
    """Of two values in the whole: all that is left is converting."""
    net = nn.Sequential(*[nn.Conv2d(2, 2, 1) for _ in range(12)], nn.Flatten())
    x = torch.randn(8, 2, 1, 1)
    write_onnx(net.eval(), (x[:1],), tmp_path / "net.onnx")
    quantize(tmp_path / "net.onnx", tmp_path / "int8.onnx", [(x, x)])
    found = found_in(tmp_path / "int8.onnx")
    assert found["slower_than_float"].ms > 0


def test_dynamic_quantisation(clean, tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(clean, path, weight_type=QuantType.QUInt8)
    assert found_in(path)["dynamic_quantisation"].ms > 0


def test_what_is_no_onnx_file_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_text("no network")
    with pytest.raises(MeasurementError, match="no ONNX file"):
        edgeprune.check_file(tmp_path / "a.onnx")
    with pytest.raises(MeasurementError, match="There is no file"):
        edgeprune.check_file(tmp_path / "b.onnx")


def test_the_command_says_it_and_exits_by_it(clean, proto, tmp_path):
    done = command(tmp_path, "check", str(clean))
    assert done.returncode == 0, done.stderr
    assert "nothing is wrong with it" in done.stdout
    newer_format(proto)
    path = saved(proto, tmp_path)
    done = command(tmp_path, "check", str(path), "--json")
    assert done.returncode == 1
    held = json.loads(done.stdout)
    assert held["findings"][0]["name"] == "newer_format"
    assert (
        command(tmp_path, "check", str(clean), "--max-ms", "0.000001").returncode == 1
    )


def test_accuracy_is_that_of_the_test_split(tmp_path, clean):
    x = np.random.default_rng(0).normal(size=(40, 3, 24, 24)).astype(np.float32)
    y = np.arange(40) % 4
    parts = {f"{kind}_{name}": v for name in NAMES for kind, v in (("x", x), ("y", y))}
    np.savez(tmp_path / "data.npz", **parts)
    args = ("--data", str(tmp_path / "data.npz"), "--json")
    held = json.loads(command(tmp_path, "check", str(clean), *args).stdout)
    assert 0 <= held["accuracy"] <= 1
    done = command(tmp_path, "check", str(clean), *args, "--min-accuracy", "99%")
    assert done.returncode == 1
