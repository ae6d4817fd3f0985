"""A board behind a real ssh server on loopback: what works, what each fault says."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.devices.runner import Runner
from edgeprune.devices.transports import Job
from edgeprune.errors import DeviceError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.targets import TimingRecipe
from tests.boards import board
from tests.nets import Bottom
from tests.waiting import running, wait_for

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

LONG = TimingRecipe(warmup=1, warmup_s=0, iterations=1, seconds=60, rounds=1)
BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=2)


@pytest.fixture(scope="module")
def pi(tmp_path_factory):
    with board(tmp_path_factory.mktemp("board")) as held:
        yield held


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.onnx"
    write_onnx(Bottom(32), (torch.randn(1, 3, 8, 8),), path)
    return path


@contextmanager
def runner_on(pi, **changed):
    transport = pi.transport(**changed)
    try:
        yield Runner(transport._target, transport)
    finally:
        transport.close()


def failure(pi, files, recipe=BRIEF, **changed):
    """The error of a measurement, and how many seconds it took to come."""
    began = time.monotonic()
    with runner_on(pi, **changed) as runner, pytest.raises(DeviceError) as caught:
        runner.transport.run(Job("time", runner.target.runtime, recipe), files)
    return caught.value, time.monotonic() - began


def python(pi, name, code="", options=""):
    """An interpreter on the board in which something else is true."""
    folder = pi.folder / f"site-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    text = f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} {options} "$@"\n'
    return str(pi.command(f"python-{name}", text))


def test_a_board_measures_as_this_machine_does(pi, file, tmp_path):
    other = tmp_path / "b.onnx"
    write_onnx(Bottom(64), (torch.randn(1, 3, 8, 8),), other)
    with runner_on(pi) as runner:
        assert runner.device.machine.cores >= 1
        assert runner.device.runtime.startswith("onnxruntime 1.")
        for timing in runner.time([file, other], BRIEF):
            assert [len(samples) for samples in timing.rounds_ms] == [3, 3]
            assert len(timing.conditions) == 2
        whole, half = runner.probe([other, file], other)
        for probed, widths in ((whole, [64, 128]), (half, [32, 64])):
            assert probed.share > 0
            convs = [node for node in probed.nodes if node.operator == "Conv"]
            assert [node.made[1] for node in convs] == widths
        assert {node.operator for node in runner.profile(file)} >= {"Conv", "Gemm"}
        assert runner.peak_memory(other).process_peak_bytes > 0
        assert runner.sustained(file, 1.0).minutes_ms[0] > 0
    kept = sorted(path.name for path in (pi.home / "edgeprune").iterdir())
    assert len(kept) == 2  # each file once, by its hash
    assert all(len(name) == 64 + len(".onnx") for name in kept)


def test_a_board_gives_the_answers_of_this_machine(pi, file):
    import onnxruntime as ort

    x = torch.randn(1, 3, 8, 8).numpy()
    with runner_on(pi) as runner:
        ((found,),) = runner.outputs([file], [[x]])[0]
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_measurement_that_takes_too_long(pi, file):
    error, took = failure(pi, [file], LONG, limits={"job_s": 1.5})
    assert error.failure == "timeout"
    assert "did not end within 1.5 s" in str(error)
    assert took < 6
    assert_gone(pi)


def test_a_machine_without_ssh(pi, file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    error, _ = failure(pi, [file])
    assert error.failure == "no_ssh"


def while_measuring(pi, file, act):
    """Do something to a measurement that runs; what comes of it."""
    found = []

    def measure(runner):
        try:
            job = Job("time", runner.target.runtime, LONG)
            found.append(runner.transport.run(job, [file]))
        except DeviceError as error:
            found.append(error)

    with runner_on(pi) as runner:
        thread = threading.Thread(target=measure, args=(runner,))
        thread.start()
        try:
            wait_for(lambda: pi.workers())
            time.sleep(0.7)  # until it measures
            act()
        finally:
            thread.join(30)
    return found[0]


def assert_gone(pi):
    """Nothing of ours runs on the board any more."""
    wait_for(lambda: not pi.workers(), 10)


def test_a_process_that_is_killed_there(pi, file):
    def act():
        for pid in pi.workers():
            os.kill(pid, signal.SIGKILL)

    error = while_measuring(pi, file, act)
    assert error.failure == "killed"
    assert "out of memory" in str(error)


def test_a_connection_that_is_lost(pi, file):
    def act():
        for pid in pi.connections():
            os.kill(pid, signal.SIGKILL)

    error = while_measuring(pi, file, act)
    assert error.failure == "lost"
    assert "was lost in the middle" in str(error)
    assert_gone(pi)


def test_a_job_is_done_again_when_the_connection_is_back(pi, file, monkeypatch):
    monkeypatch.setattr("edgeprune.devices.runner.AGAIN_S", (0.1,))
    with runner_on(pi) as runner:
        run, tries = runner.transport.run, []

        def once_lost(job, files):
            tries.append(job)
            if len(tries) == 1:
                raise DeviceError("lost", "it was lost")
            return run(job, files)

        monkeypatch.setattr(runner.transport, "run", once_lost)
        assert runner.time([file], BRIEF)[0].median_ms > 0
    assert len(tries) == 2


def test_nothing_runs_on_when_the_caller_is_killed(pi, file, tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.boards import Board
from tests.devices.test_ssh import LONG, Job
held = Board(Path({str(pi.folder)!r}), {pi.port})
transport = held.transport()
transport.run(Job("time", transport._target.runtime, LONG), [Path({str(file)!r})])
"""
    with running(code):
        wait_for(lambda: pi.workers())
        time.sleep(0.7)
    assert_gone(pi)
