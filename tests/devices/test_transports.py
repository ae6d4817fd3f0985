"""What every transport must do, whatever device it reaches."""

import pytest
import torch

from edgeprune import targets
from edgeprune.devices.transports import TRANSPORTS, FakeTransport, Job
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.records import Machine
from edgeprune.targets import TimingRecipe
from tests.made_up import FAKE
from tests.nets import Bottom

RUNTIME = targets.load(FAKE).runtime
BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / "a.onnx", folder / "b.onnx"]
    for path, width in zip(paths, (4, 32), strict=True):
        write_onnx(Bottom(width), (torch.randn(1, 3, 8, 8),), path)
    return paths


@pytest.fixture(params=["host", "fake"])
def transport(request):
    held = TRANSPORTS[request.param](targets.load("host"))
    yield held
    held.close()


def ask(transport, mode, files):
    answer = transport.run(Job(mode, RUNTIME, BRIEF), files)
    assert answer["ok"], answer
    assert Machine(**answer["machine"]).cores >= 1
    assert answer["runtime"]
    return answer["results"]


def test_a_device_describes_itself(transport):
    assert ask(transport, "describe", []) == []


def test_files_are_timed_round_by_round(transport, files):
    for result in ask(transport, "time", files):
        assert len(result["rounds_ms"]) == BRIEF.rounds
        assert all(len(samples) >= BRIEF.iterations for samples in result["rounds_ms"])
        assert min(result["rounds_ms"][0]) > 0
        assert result["provider"] == RUNTIME.provider
        assert result["load_ms"] >= 0


def test_operators_are_timed_in_their_order(transport, files):
    (result,) = ask(transport, "profile", files[:1])
    kinds = [node["operator"] for node in result["nodes"]]
    assert kinds.index("Conv") < len(kinds) - 1 - kinds[::-1].index("Gemm")
    assert all(node["ms"] >= 0 for node in result["nodes"])


def test_many_files_are_probed_beside_the_first(transport, files):
    results = ask(transport, "probe", [files[0], *files])
    assert len(results) == len(files)
    for result in results:
        assert len(result["reference_ms"]) == len(result["samples_ms"]) == BRIEF.rounds
        assert len(result["nodes"]) == BRIEF.rounds


def test_memory_is_told_in_bytes(transport, files):
    (result,) = ask(transport, "memory", files[1:])
    assert result["process_peak_bytes"] >= 0


def test_a_made_up_device_is_as_slow_as_its_load(files):
    steady, busy = FakeTransport(), FakeTransport(load=lambda turn: 2.0 + turn)
    (one,) = ask(steady, "time", files[:1])
    (other,) = ask(busy, "time", files[:1])
    idle = one["rounds_ms"][0][0]
    assert idle == pytest.approx(steady.latency_ms(files[0]))
    assert [round(samples[0] / idle) for samples in other["rounds_ms"]] == [2, 3]
    assert steady.latency_ms(files[1]) > idle
