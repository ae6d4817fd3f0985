"""A real browser as a phone: what it measures, and what each fault says."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune import targets
from edgeprune.devices.browser.runtime_files import FILES, runtime_files
from edgeprune.devices.browser.seat import seat_of
from edgeprune.devices.runner import runner_for
from edgeprune.devices.transports import Job
from edgeprune.errors import DeviceError, TargetError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.targets import TimingRecipe
from tests.nets import Bottom
from tests.phones import browsing, close, ort_web, serving, web_target
from tests.waiting import running, wait_for

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

LONG = TimingRecipe(warmup=1, warmup_s=0, iterations=1, seconds=60, rounds=1)
BRIEF = TimingRecipe(warmup=2, warmup_s=0, iterations=3, seconds=0, rounds=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for the module, where the server's seat lies."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_cache(cache, monkeypatch, _own_cache):
    monkeypatch.setenv("EDGEPRUNE_CACHE", cache)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / "a.onnx", folder / "b.onnx"]
    for path, width in zip(paths, (16, 64), strict=True):
        write_onnx(Bottom(width), (torch.randn(1, 3, 8, 8),), path)
    return paths


@pytest.fixture(scope="module")
def phone(tmp_path_factory, cache):
    """A target whose page is open in a browser."""
    before = os.environ.get("EDGEPRUNE_CACHE")
    os.environ["EDGEPRUNE_CACHE"] = cache
    path = web_target(tmp_path_factory.mktemp("web"))
    try:
        with serving(path), browsing(path, label="My phone"):
            yield path
    finally:
        os.environ.pop("EDGEPRUNE_CACHE")
        if before is not None:
            os.environ["EDGEPRUNE_CACHE"] = before


def runner_of(path):
    return runner_for(targets.load(str(path)))


def test_a_page_measures(phone, files):
    runner = runner_of(phone)
    assert runner.device.machine.cpu == "My phone"
    assert runner.device.machine.architecture == "wasm32"
    assert runner.device.runtime == "onnxruntime-web 1.30.0 wasm"
    one, two = runner.time(files, BRIEF)
    assert [len(samples) for samples in one.rounds_ms] == [3, 3]
    assert min(one.median_ms, two.median_ms) > 0
    assert one.provider == "wasm"
    half, whole = runner.probe(files, files[1])
    for probed, widths in ((whole, [64, 128]), (half, [16, 32])):
        assert probed.share > 0
        convolutions = [item for item in probed.nodes if "Conv" in item.operator]
        assert [item.made[1] for item in convolutions] == widths
        assert all(item.latency_ms > 0 for item in convolutions)
    assert [item.operator for item in runner.profile(files[0])][-1] == "Gemm"
    assert runner.sustained(files[0], 1.0).minutes_ms[0] > 0


def test_a_page_gives_the_answers_of_this_machine(phone, files):
    import onnxruntime as ort

    xs = [torch.randn(1, 3, 8, 8).numpy() for _ in range(2)]
    found = runner_of(phone).outputs([files[0]], [[x] for x in xs])[0]
    session = ort.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    for x, (made,) in zip(xs, found, strict=True):
        (expected,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_no_page_loads(phone, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(DeviceError, match=r"bad.onnx failed while trying to load"):
        runner_of(phone).time([path], BRIEF)


def test_a_page_goes_on_after_a_run_was_killed(phone, files):
    """The job of a run that is gone is dropped; the next one is done."""
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.devices.test_browser import *\n"
        f"runner_of({str(phone)!r}).time([Path({str(files[0])!r})], LONG)\n"
    )
    with running(code):
        time.sleep(6)
    began = time.monotonic()
    assert runner_of(phone).time(files[:1], BRIEF)
    assert time.monotonic() - began < 20


def test_there_is_no_server(files, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeprune.devices.runner.AGAIN_S", (0.1,))
    path = web_target(tmp_path, "nobody")
    with pytest.raises(DeviceError, match="no page server runs here: start") as caught:
        runner_of(path).time(files, BRIEF)
    assert caught.value.failure == "no_server"


def test_no_page_is_open(files, tmp_path):
    path = web_target(tmp_path, "empty", wait_s=1)
    with serving(path), pytest.raises(DeviceError, match="no page is open") as caught:
        runner_of(path).time(files, BRIEF)
    assert caught.value.failure == "no_page"


def test_a_measurement_takes_too_long(files, tmp_path):
    path = web_target(tmp_path, "slow", job_s=2)
    with serving(path), browsing(path):
        runner = runner_of(path)
        with pytest.raises(DeviceError, match="did not end within 2 s") as caught:
            runner.time(files[:1], LONG)
        assert caught.value.failure == "timeout"
        assert runner.time(files, BRIEF)  # the page was told to stop


@contextmanager
def measuring(runner, files):
    """A measurement that runs for long; yields a list with what comes of it."""
    found = []

    def measure():
        try:
            job = Job("time", runner.target.runtime, SECONDS)
            found.append(runner.transport.run(job, files))
        except DeviceError as error:
            found.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        time.sleep(2)
        yield found
    finally:
        thread.join(60)


SECONDS = TimingRecipe(warmup=1, warmup_s=0, iterations=1, seconds=2, rounds=3)


def test_a_page_that_is_closed_and_opened_again(files, tmp_path):
    path = web_target(tmp_path, "closed", wait_s=60)
    with serving(path):
        runner = runner_of(path)
        with browsing(path) as first, measuring(runner, files[:1]) as found:
            close(first)
            with browsing(path):
                wait_for(lambda: found)
    assert found[0]["ok"], found


def test_a_page_that_is_closed_for_good(files, tmp_path):
    path = web_target(tmp_path, "gone", wait_s=1)
    with serving(path):
        runner = runner_of(path)
        with browsing(path) as only, measuring(runner, files[:1]) as found:
            close(only)
    assert found[0].failure == "page_lost"
    assert "the page was lost in the middle" in str(found[0])


def test_a_server_that_is_killed_and_started_again(files, tmp_path, monkeypatch):
    """The page stays open, and finds the new server by itself."""
    monkeypatch.setattr("edgeprune.devices.runner.AGAIN_S", (2.0, 5.0, 10.0))
    path = web_target(tmp_path, "again", wait_s=30)
    with serving(path) as first, browsing(path):
        runner = runner_of(path)
        with measuring(runner, files[:1]) as found:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        assert found[0].failure == "server_lost"
        with serving(path):
            assert runner.time(files, BRIEF)


def test_a_second_server_is_refused(tmp_path):
    path = web_target(tmp_path, "twice")
    command = [sys.executable, "-m", "edgeprune", "targets", "serve", str(path)]
    with serving(path):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "twice is served already" in done.stderr


def test_a_target_without_a_page_is_not_served():
    command = [sys.executable, "-m", "edgeprune", "targets", "serve", "host"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not measured by a page" in done.stderr


def test_the_seat_is_for_this_user_only(phone):
    name = targets.load(str(phone)).name
    path = Path(os.environ["EDGEPRUNE_CACHE"]) / "serve" / f"{name}.json"
    assert path.stat().st_mode & 0o077 == 0
    assert json.loads(path.read_text())["page_token"] == seat_of(name).page_token


def test_files_of_the_runtime_that_are_not_those_published(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(TargetError, match="another hash"):
        runtime_files(tmp_path)
    (tmp_path / "onnxruntime-web-1.30.0.tgz").write_bytes(b"something else")
    with pytest.raises(TargetError, match="another hash"):
        runtime_files(tmp_path / "onnxruntime-web-1.30.0.tgz")
    with pytest.raises(TargetError, match="there is no such file"):
        runtime_files(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetError, match="there is no onnxruntime-web in it"):
        runtime_files(tmp_path / "empty")


def test_without_npm_it_is_said_how_to_get_the_runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        TargetError, match=r"npm pack onnxruntime-web@1.30.0.*--ort-web"
    ):
        runtime_files()


def test_the_runtime_is_read_from_a_folder():
    assert set(runtime_files(ort_web())) == set(FILES)


SOFTWARE = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ((), "this browser offers no WebGPU adapter to this page"),
        (SOFTWARE, "WebGPU is computed in software here: its times say nothing"),
    ],
)
def test_webgpu_that_is_none_is_refused(files, tmp_path, flags, complaint):
    path = web_target(tmp_path, "gpu", provider="webgpu")
    with serving(path), browsing(path, *flags):
        with pytest.raises(DeviceError, match=complaint) as caught:
            runner_of(path).time(files[:1], BRIEF)
        assert caught.value.failure == "provider"


def test_threads_need_a_secure_page(files, tmp_path):
    """On localhost they are given; what is not secure says so."""
    path = web_target(tmp_path, "threads", threads=2)
    with serving(path), browsing(path):
        assert runner_of(path).time(files[:1], BRIEF)[0].threads == 2
