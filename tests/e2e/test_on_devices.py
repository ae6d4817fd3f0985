"""Whole runs on a board and on a phone's page, killed on the way and gone on with."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import edgeprune
from edgeprune.devices.transports import TRANSPORTS
from examples import data, nets
from tests.boards import board
from tests.phones import browsing, close, serving, web_target
from tests.waiting import running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("measuring")]

ROOT = Path(__file__).parents[2]
HOW = {"budget": "60%", "precision": "fp32", "max_drop": 100, "epochs": 1}
CHILD = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import edgeprune
from edgeprune.devices.transports import TRANSPORTS
from examples import data, nets
from tests.boards import Board
from tests.e2e.test_on_devices import HOW
if {port}:
    TRANSPORTS["ssh"] = Board(Path({folder!r}), {port}).reach
edgeprune.compress(
    nets.make_net(), data.make_data(), target={target!r}, out={out!r}, **HOW
)
"""


def compress(target, out):
    return edgeprune.compress(
        nets.make_net(), data.make_data(), target=str(target), out=out, **HOW
    )


def child(target, out, held=None):
    """The same in a process of its own, which can be killed."""
    words = {"root": str(ROOT), "target": str(target), "out": str(out)}
    words |= {"port": held.port if held else 0}
    words |= {"folder": str(held.folder) if held else ""}
    return running(CHILD.format(**words), cwd=ROOT)


def assert_met_there(report, runtime):
    assert report.status == "met", report.sentence
    assert report.counted.latency_ratio <= 0.6
    assert report.result.timing.runtime.startswith(runtime)
    assert report.on_device
    assert report.on_device[0].file == "model.onnx"
    for parity in report.on_device:
        assert parity.passed
        assert parity.top1_agreement == 1.0
    assert report.latency_model.probes >= 4


@pytest.fixture
def pi(tmp_path, monkeypatch):
    folder = tmp_path / "board"
    folder.mkdir()
    with board(folder) as held:
        monkeypatch.setitem(TRANSPORTS, "ssh", held.reach)
        yield held


def test_a_board_from_beginning_to_end(pi, tmp_path):
    """The connections are cut once on the way: the run goes on by itself."""
    done = []
    path = pi.file(verdict={"processes": 3})
    run = threading.Thread(target=lambda: done.append(compress(path, tmp_path / "run")))
    run.start()
    wait_for(lambda: pi.workers())
    time.sleep(1.0)
    for pid in pi.connections():
        os.kill(pid, signal.SIGKILL)
    run.join(300)
    report = done[0].report
    assert_met_there(report, "onnxruntime 1.")
    assert report.result.timing.processes >= 3
    assert "board" in report.target
    assert not pi.workers()


def test_a_run_on_a_board_that_is_killed_goes_on(pi, tmp_path):
    path, out = pi.file(), tmp_path / "run"
    cache = Path(os.environ["EDGEPRUNE_CACHE"])
    with child(path, out, pi):
        wait_for(lambda: list((cache / "latency").rglob("*.json")))
    wait_for(lambda: not pi.workers())
    assert not out.exists()
    assert_met_there(compress(path, out).report, "onnxruntime 1.")


def test_a_phone_from_beginning_to_end(tmp_path):
    """The browser is killed on the way, then the server; then the run itself."""
    path = web_target(tmp_path, wait_s=60)
    done = []
    with serving(path) as server:
        with browsing(path, label="My phone") as first:
            out = tmp_path / "run"
            run = threading.Thread(target=lambda: done.append(compress(path, out)))
            run.start()
            time.sleep(8)
            close(first)
            with browsing(path, label="My phone"):
                run.join(300)
        assert_met_there(done[0].report, "onnxruntime-web")
        assert done[0].report.machine.cpu == "My phone"
        server.terminate()
        assert server.wait(20) == 0
        assert "The page is served no longer" in server.stdout.read()
    held = json.loads((out / "report.json").read_text())
    assert held["result"]["timing"]["provider"] == "wasm"


def test_a_run_on_a_phone_goes_on_with_another_server(tmp_path):
    path, out = web_target(tmp_path, wait_s=60), tmp_path / "run"
    with serving(path) as server, browsing(path, label="My phone"):
        cache = Path(os.environ["EDGEPRUNE_CACHE"])
        with child(path, out):
            wait_for(lambda: list((cache / "latency").rglob("*.json")))
            server.kill()
            server.wait()
        with serving(path):
            assert_met_there(compress(path, out).report, "onnxruntime-web")
