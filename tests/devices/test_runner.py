from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeprune import targets
from edgeprune.devices import worker
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.devices.transports import FakeTransport
from edgeprune.errors import DeviceError, ExportError, MeasurementError
from edgeprune.measure.benchmark import Benchmark, Exported
from edgeprune.measure.onnx_file import weights_of_nodes, write_onnx
from edgeprune.targets import TimingRecipe
from tests.made_up import FAKE, fake_runner, scripted
from tests.nets import Bottom

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

X = (torch.randn(1, 3, 8, 8),)
BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=2)


@pytest.fixture
def runner():
    return runner_for(targets.load("host"), seed=7)


def test_a_timing_keeps_every_sample_and_how_it_was_taken(runner, tmp_path):
    write_onnx(Bottom(), X, tmp_path / "a.onnx")
    write_onnx(Bottom(8), X, tmp_path / "b.onnx")
    first, second = runner.time([tmp_path / "a.onnx", tmp_path / "b.onnx"], BRIEF)
    assert [len(samples) for samples in first.rounds_ms] == [3, 3]
    assert len(second.samples_ms) == 6
    assert min(first.samples_ms) > 0
    assert (first.threads, first.provider) == (1, "CPUExecutionProvider")
    assert len(first.pinned_cpus) == 1
    assert first.runtime.startswith("onnxruntime 1.")
    assert first.seed == 7
    assert first.machine.cores > 0


def test_the_profile_names_every_layer(runner, tmp_path):
    benchmark = Benchmark(runner, X, tmp_path)
    layers, profiled_ms = benchmark.layers(benchmark.export(Bottom(), "a"))
    assert [layer.name for layer in layers] == [
        "first.weight",
        "second.weight",
        "head.weight",
    ]
    assert all(
        layer.latency_ms is not None and layer.latency_ms > 0 for layer in layers
    )
    assert sum(layer.latency_ms for layer in layers) <= profiled_ms
    first, second, head = (layer.moved_bytes for layer in layers)
    assert second == 4 * (16 * 8 * 8 + 32 * 4 * 4 + layers[1].params)
    assert first > 4 * 16 * 8 * 8
    assert head == 4 * (512 + 4 + layers[2].params)


def test_peak_memory_grows_with_the_model(runner, tmp_path):
    write_onnx(Bottom(4), X, tmp_path / "small.onnx")
    write_onnx(Bottom(512), X, tmp_path / "large.onnx")
    small = runner.peak_memory(tmp_path / "small.onnx")
    large = runner.peak_memory(tmp_path / "large.onnx")
    assert large.process_peak_bytes - small.process_peak_bytes > 4e6


def test_an_open_batch_is_timed_at_the_batch_that_was_asked_for():
    """The worker fills in the axis that a file leaves open."""
    item = SimpleNamespace(shape=["batch", 3, 8, 8], type="tensor(float)")
    assert worker.feed(np, np.random.default_rng(0), item, 64).shape == (64, 3, 8, 8)
    item = SimpleNamespace(shape=["batch", 5], type="tensor(int64)")
    rows = worker.feed(np, np.random.default_rng(0), item, 8)
    assert rows.dtype == np.int64
    assert set(rows.flat) == {0, 1}  # for which any table has rows


def test_a_corrupt_file_is_refused_with_the_stage(runner, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(MeasurementError, match=r"bad.onnx failed while trying to load"):
        runner.time([tmp_path / "bad.onnx"], BRIEF)


def test_a_provider_that_falls_back_is_refused(tmp_path):
    target = targets.load("host")
    runtime = target.runtime.model_copy(update={"provider": "CUDAExecutionProvider"})
    write_onnx(Bottom(), X, tmp_path / "a.onnx")
    runner = runner_for(target.model_copy(update={"runtime": runtime}))
    with pytest.raises(MeasurementError, match="fell back to CPUExecutionProvider"):
        runner.time([tmp_path / "a.onnx"], BRIEF)


def test_telemetry_is_off_before_the_runtime_is_imported():
    import os

    import edgeprune

    assert edgeprune.__version__
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_values_lead_to_the_layer_that_made_them(tmp_path):
    write_onnx(Bottom(), X, tmp_path / "a.onnx")
    assert set(weights_of_nodes(tmp_path / "a.onnx").values()) == {
        "first.weight",
        "second.weight",
        "head.weight",
    }


def test_a_probe_tells_of_every_operator_beside_the_reference(runner, tmp_path):
    """Half as wide: fewer channels are read and made, by the same operators."""
    write_onnx(Bottom(64), X, tmp_path / "whole.onnx")
    write_onnx(Bottom(32), X, tmp_path / "half.onnx")
    whole, half = runner.probe(
        [tmp_path / "whole.onnx", tmp_path / "half.onnx"], tmp_path / "whole.onnx"
    )
    assert whole.share > 0
    assert half.share > 0
    convolutions = [node for node in whole.nodes if node.operator == "Conv"]
    assert [node.made[1] for node in convolutions] == [64, 128]
    assert [node.made[1] for node in half.nodes if node.operator == "Conv"] == [32, 64]
    assert all(node.latency_ms > 0 for node in convolutions)


def test_the_key_names_processor_runtime_and_settings(runner):
    key = runner.key()
    assert "onnxruntime" in key
    assert key != runner.with_threads(7).key()


def test_export_keeps_names_and_opens_the_batch_on_request(tmp_path):
    import onnx

    write_onnx(Bottom(), X, tmp_path / "a.onnx", dynamic_batch=True)
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert [item.name for item in graph.input] == ["input"]
    assert [item.name for item in graph.output] == ["output"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert not list(tmp_path.glob("*.data"))


def test_a_model_that_does_not_export_is_refused(tmp_path):
    class Sorting(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x)

    with pytest.raises(ExportError, match="Sorting cannot be written as ONNX"):
        write_onnx(Sorting(), (torch.randn(1, 3, 3),), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("loads", "measurements"),
    [
        ((1.0, 1.0, 1.0), 1),
        ((1.0, 5.0, 9.0), 2),
        ((1.0, 5.0, 9.0) * 3, 3),  # it never gets quiet
    ],
)
def test_a_timing_that_leaves_doubt_goes_on(tmp_path, loads, measurements):
    transport = FakeTransport(load=scripted(*loads))
    benchmark = Benchmark(fake_runner(transport), X, tmp_path)
    write_onnx(Bottom(), X, tmp_path / "a.onnx")
    item = Exported(Bottom(), tmp_path / "a.onnx", None)
    timing = benchmark.compare([item])[0]
    assert len(transport.jobs) == measurements
    assert len(timing.rounds_ms) == 3 * measurements
    assert (timing.doubt > 0.01) == (measurements == 3)


def test_what_is_said_of_a_device_is_what_it_answers():
    """Not what the machine is that asks."""
    runner = fake_runner()
    assert runner.device.machine.cpu == "made-up device"
    assert runner.device.machine.cores == 4
    assert runner.key().startswith("made-up device|made-up runtime 1|")


def test_this_machine_describes_itself(runner):
    import onnxruntime

    device = runner.device
    assert device.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert device.machine.architecture
    assert device.machine.cores >= 1


class Restarted(FakeTransport):
    """A device whose server is started anew once, in front of a job."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def run(self, job, files):
        if job.mode == self.mode:
            self.mode = None
            raise DeviceError("no_server", "no page server runs here")
        return super().run(job, files)


def test_a_server_that_is_started_anew_is_waited_for(monkeypatch, tmp_path):
    """In the middle of a run; where none is there from the start, that is said."""
    monkeypatch.setattr("edgeprune.devices.runner.AGAIN_S", (0.01,))
    path = tmp_path / "net.onnx"
    write_onnx(Bottom(16), (torch.randn(1, 3, 8, 8),), path)
    target = targets.load(FAKE)
    assert Runner(target, Restarted("time")).time([path])
    with pytest.raises(DeviceError, match="no page server"):
        _ = Runner(target, Restarted("describe")).device
