"""A board behind a real ssh server on loopback: what works, what each fault says."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.errors import DeviceError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.measure.runner import Runner
from edgeprune.measure.transports import Job
from edgeprune.targets import TimingRecipe
from tests.boards import board, free_port, make_key
from tests.nets import Bottom

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

LONG = TimingRecipe(warmup=1, warmup_s=0, iterations=1, seconds=60, rounds=1)
BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=2)
# Arm code, which no x86 runs, and the other way round.
FOREIGN = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xf7\0" + b"\0" * 60


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
        assert half.share < whole.share
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


def test_a_port_where_nobody_listens(pi, file):
    error, took = failure(pi, [file], ssh={"port": free_port()})
    assert error.failure == "refused"
    assert "refuses the connection" in str(error)
    assert took < 5


def test_a_host_that_says_nothing(pi, file):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        error, took = failure(pi, [file], ssh={"port": port, "connect_s": 1})
    assert error.failure == "silent"
    assert "does not answer within 1 s" in str(error)
    assert took < 10


def test_a_server_that_hangs_up(pi, file):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()

        def hang_up():
            held.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        port = held.getsockname()[1]
        error, _ = failure(pi, [file], ssh={"port": port})
    assert error.failure == "closed"
    assert "is that an ssh server?" in str(error)


def test_a_name_that_nobody_knows(pi, file):
    error, _ = failure(pi, [file], ssh={"host": "no-such-board.invalid"})
    assert error.failure == "name"
    assert "~/.ssh/config" in str(error)


def test_a_host_key_that_is_not_known(pi, file, monkeypatch):
    empty = pi.folder / "nobody"
    empty.write_text("")
    monkeypatch.setattr(type(pi), "known_hosts", property(lambda _: empty))
    error, _ = failure(pi, [file])
    assert error.failure == "host_key"
    assert "is not known here: connect once by hand" in str(error)


def test_a_host_key_that_has_changed(pi, file, monkeypatch):
    make_key(pi.folder / "another")
    kind, key, *_ = (pi.folder / "another.pub").read_text().split()
    changed = pi.folder / "changed"
    changed.write_text(f"[127.0.0.1]:{pi.port} {kind} {key}\n")
    monkeypatch.setattr(type(pi), "known_hosts", property(lambda _: changed))
    error, _ = failure(pi, [file])
    assert error.failure == "host_key_changed"
    assert "ssh-keygen -R 127.0.0.1" in str(error)


def test_a_key_that_is_refused(pi, file):
    error, _ = failure(pi, [file], ssh={"identity": str(pi.folder / "host_key")})
    assert error.failure == "key"
    assert "ssh-copy-id" in str(error)


def test_a_board_that_runs_no_command(pi, file):
    make_key(pi.folder / "bound")
    text = (pi.folder / "bound.pub").read_text()
    allowed = pi.folder / "authorized_keys"
    allowed.write_text(allowed.read_text() + f'command="echo no >&2; exit 1" {text}')
    error, _ = failure(pi, [file], ssh={"identity": str(pi.folder / "bound")})
    assert error.failure == "shell"
    assert "lets us in, but runs no command there: no" in str(error)


def test_a_board_without_python(pi, file):
    error, _ = failure(pi, [file], ssh={"python": "python9"})
    assert error.failure == "no_python"
    assert "there is no python9" in str(error)


def test_a_python_that_is_too_old(pi, file):
    old = pi.command("python-old", "#!/bin/sh\necho python is 3.7 >&2\nexit 1\n")
    error, _ = failure(pi, [file], ssh={"python": str(old)})
    assert error.failure == "old_python"
    assert "version 3.7, 3.9 or newer is needed" in str(error)


def test_a_python_for_another_processor(pi, file):
    path = pi.folder / "bin" / "python-foreign"
    path.write_bytes(FOREIGN)
    path.chmod(0o755)
    error, _ = failure(pi, [file], ssh={"python": str(path)})
    assert error.failure == "architecture"
    assert "cannot be run there" in str(error)


def test_a_python_that_says_nothing(pi, file):
    mute = pi.command("python-mute", "#!/bin/sh\nexit 0\n")
    error, _ = failure(pi, [file], ssh={"python": str(mute)})
    assert error.failure == "python"


def refused(pi, file, **changed):
    """The error that a runner makes of an answer."""
    with runner_on(pi, **changed) as runner, pytest.raises(DeviceError) as caught:
        runner.time([file], BRIEF)
    return caught.value


def test_a_python_without_a_runtime(pi, file):
    bare = python(pi, "bare", options="-S")
    error = refused(pi, file, ssh={"python": bare})
    assert error.failure == "no_runtime"
    assert "its Python lacks numpy: `edgeprune targets setup board`" in str(error)


def test_a_system_of_32_bits(pi, file):
    code = "import platform\nplatform.machine = lambda: 'armv7l'\n"
    code += "import sys\nsys.modules['onnxruntime'] = None\n"
    small = python(pi, "small", code)
    error = refused(pi, file, ssh={"python": small})
    assert error.failure == "architecture"
    assert "the system is armv7l" in str(error)
    assert "install a 64-bit system" in str(error)


def test_a_disk_that_is_full(pi, tmp_path):
    path = tmp_path / "new.onnx"
    write_onnx(Bottom(16), (torch.randn(1, 3, 8, 8),), path)
    code = (
        "import errno, pathlib\n"
        "def full(self, content):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', str(self))\n"
        "pathlib.Path.write_bytes = full\n"
    )
    error = refused(pi, path, ssh={"python": python(pi, "full", code)})
    assert error.failure == "disk_full"
    assert "no space left on" in str(error)


def test_a_folder_that_cannot_be_written(pi, file):
    error = refused(pi, file, ssh={"folder": "/proc/edgeprune"})
    assert error.failure == "folder"
    assert "files cannot be kept in '/proc/edgeprune'" in str(error)


def test_a_file_that_is_no_model(pi, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    error = refused(pi, path)
    assert error.failure == "load"
    assert "bad.onnx failed while trying to load" in str(error)


def test_a_provider_that_is_not_there(pi, file):
    runtime = pi.target().runtime.model_dump()
    runtime["provider"] = "CUDAExecutionProvider"
    error = refused(pi, file, runtime=runtime)
    assert error.failure == "provider"
    assert "fell back to CPUExecutionProvider" in str(error)


def test_cores_that_are_not_there(pi, file):
    runtime = {**pi.target().runtime.model_dump(), "cores": [4000]}
    error = refused(pi, file, runtime=runtime)
    assert error.failure == "cores"
    assert "see runtime.cores" in str(error)


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
            wait_until(lambda: pi.workers())
            time.sleep(0.7)  # until it measures
            act()
        finally:
            thread.join(30)
    return found[0]


def wait_until(holds, seconds=15):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def assert_gone(pi):
    """Nothing of ours runs on the board any more."""
    wait_until(lambda: not pi.workers(), 10)


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
    monkeypatch.setattr("edgeprune.measure.runner.AGAIN_S", (0.1,))
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
from tests.measure.test_ssh import LONG, Job
held = Board(Path({str(pi.folder)!r}), {pi.port})
transport = held.transport()
transport.run(Job("time", transport._target.runtime, LONG), [Path({str(file)!r})])
"""
    caller = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: pi.workers(), 30)
    time.sleep(0.7)
    caller.kill()
    caller.wait()
    assert_gone(pi)
