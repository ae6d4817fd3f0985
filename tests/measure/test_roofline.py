"""What a device can do at most, measured by its own runtime."""

from contextlib import closing

import numpy as np
import onnxruntime as ort
import pytest

from edgeprune import targets
from edgeprune.devices.runner import NodeTime, Runner, runner_for
from edgeprune.devices.transports.fake import (
    ELEMENTS_PER_MS,
    LAUNCH_MS,
    MACS_PER_MS,
    FakeTransport,
)
from edgeprune.errors import DeviceError, MeasurementError
from edgeprune.measure import roofline
from edgeprune.measure.roofline import MOVED, SIDE, read_off, roofline_of, write_tasks
from edgeprune.records import Roofline
from tests.made_up import FAKE, by_macs


def test_the_made_up_devices_own_rates_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    transport = FakeTransport()
    runner = Runner(targets.load(FAKE), transport)
    found = roofline_of(runner)
    assert found.macs_per_ms == pytest.approx(MACS_PER_MS, rel=0.001)
    assert found.bytes_per_ms == pytest.approx(8 * ELEMENTS_PER_MS, rel=0.001)
    assert found.moves[0][1] == pytest.approx(LAUNCH_MS + MOVED[0] / ELEMENTS_PER_MS)
    jobs = [job.mode for job, _ in transport.jobs]
    assert roofline_of(runner) == found
    assert [job.mode for job, _ in transport.jobs] == jobs  # it is kept


def test_this_machine_has_one(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    with closing(runner_for(targets.load("host"))) as runner:
        found = roofline_of(runner)
    assert 1e5 < found.macs_per_ms < 1e10
    times = [ms for _, ms in found.moves]
    assert times == sorted(times)
    assert times[0] < times[-1] / 10


def test_the_file_multiplies_and_moves(tmp_path):
    path = tmp_path / "tasks.onnx"
    write_tasks(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {
        item.name: np.full(item.shape, -2.0, np.float32)
        for item in session.get_inputs()
    }
    made = dict(
        zip(
            [item.name for item in session.get_outputs()],
            session.run(None, feeds),
            strict=True,
        )
    )
    assert made["products"].shape == (SIDE, SIDE)
    assert made["products"].std() > 1
    for size in MOVED:
        assert (made[f"array_{size}_3"] == 2).all()


def test_a_device_that_is_not_there_or_refuses_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))

    class Refusing(FakeTransport):
        def run(self, job, files):
            if job.mode == "profile":
                raise DeviceError("memory", "there is too little of it")
            return super().run(job, files)

    target = targets.load(FAKE)
    assert roofline_of(Runner(target, Refusing())) is None
    monkeypatch.setattr(roofline, "WITHOUT", set())
    assert roofline_of(Runner(target, FakeTransport(), estimates=True)) is None
    free = FakeTransport(by_macs())  # moves take no time
    assert roofline_of(Runner(target, free)) is None
    with pytest.raises(MeasurementError, match=r"ran other operators.*: Gemm\."):
        read_off([NodeTime("a", 1.0, "Gemm", (2, 2), (2, 2))])
    blind = [NodeTime(kind, 1.0, kind) for kind in ("MatMul", "Conv", "Neg", "Abs")]
    with pytest.raises(MeasurementError, match="does not say what its operators moved"):
        read_off(blind)


def test_moves_between_those_that_were_measured():
    known = Roofline(2e6, ((1000.0, 0.1), (2000.0, 0.1), (4000.0, 0.5)))
    for moved, ms in ((1, 0.1), (1500, 0.1), (3000, 0.3), (4000, 0.5), (8000, 1.0)):
        assert known.memory_ms(moved) == pytest.approx(ms)
    assert known.compute_ms(4e6) == 2.0
    assert known.bytes_per_ms == 8000
