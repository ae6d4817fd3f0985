"""A made-up phone behind the real adb: what works, and what each fault says."""

import subprocess
import threading
from pathlib import Path

import pytest
import torch

from edgeprune.devices.runner import runner_for
from edgeprune.devices.transports import Job
from edgeprune.devices.transports.adb_script import conditions_of
from edgeprune.errors import DeviceError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.targets import TimingRecipe
from tests.adb_phone import Phone, adb_phone, plug_in
from tests.nets import Bottom
from tests.waiting import running, wait_for

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=2)
LONG = TimingRecipe(warmup=1, warmup_s=0, iterations=99_999, seconds=0, rounds=9)


@pytest.fixture
def phone(tmp_path, monkeypatch):
    folder = tmp_path / "phone"
    folder.mkdir()
    with adb_phone(folder, monkeypatch) as held:
        yield held


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / "a.onnx", folder / "b.onnx"]
    for path, width in zip(paths, (16, 64), strict=True):
        write_onnx(Bottom(width), (torch.randn(1, 3, 8, 8),), path)
    return paths


def failure(phone, files, recipe=BRIEF, **changed):
    runner = runner_for(phone.target(**changed))
    with pytest.raises(DeviceError) as caught:
        runner.time(files, recipe)
    return caught.value


def test_a_phone_measures(phone, files):
    runner = runner_for(phone.target())
    assert runner.device.machine.cpu == "Maker Phone 9 (SM9999)"
    assert runner.device.machine.architecture == "aarch64"
    assert "ort_runner 0.7.0" in runner.device.runtime
    one, two = runner.time(files, BRIEF)
    assert [len(samples) for samples in one.rounds_ms] == [3, 3]
    assert one.conditions[0].battery_c == 30.0
    assert one.conditions[-1].thermal_status == 0
    half, whole = runner.probe(files, files[1])
    assert half.share > 0
    assert "Conv" in {node.operator for node in whole.nodes}
    assert [node.operator for node in runner.profile(files[0])][-1] == "Gemm"
    assert runner.peak_memory(files[0]).run_peak_bytes == 1024
    assert len(runner.sustained(files[0], 120.0).minutes_ms) == 2
    models = list((phone.folder / "data" / "models").iterdir())
    assert len(models) == 2  # each once, by its hash
    assert two.median_ms > 0


def test_answers_are_not_told_by_the_runner(phone, files):
    runner = runner_for(phone.target())
    with pytest.raises(DeviceError, match="the runner tells no outputs") as caught:
        runner.outputs(files[:1], [])
    assert caught.value.failure == "unsupported"


def test_there_is_no_adb(phone, files, monkeypatch, tmp_path):
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(tmp_path))
        error = failure(phone, files)
    assert error.failure == "no_adb"
    assert "platform-tools" in str(error)


def test_no_phone_is_plugged_in(phone, files):
    subprocess.run(["adb", "disconnect"], check=True, capture_output=True, timeout=60)
    error = failure(phone, files, adb={"serial": None})
    assert error.failure == "no_phone"
    assert "USB debugging" in str(error)


def test_that_phone_is_not_plugged_in(phone, files):
    error = failure(phone, files, adb={"serial": "ABC123"})
    assert error.failure == "no_phone"
    assert "does not see the phone ABC123" in str(error)


def test_there_are_two_phones(phone, files, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    other = Phone(folder)
    plug_in(other)
    try:
        error = failure(phone, files, adb={"serial": None})
    finally:
        other.close()
    assert error.failure == "many_phones"
    assert "adb.serial" in str(error)


@pytest.mark.parametrize("name", ["runner", "library"])
def test_no_program_is_named(phone, files, name):
    error = failure(phone, files, adb={name: None})
    assert error.failure == f"no_{name}"
    assert "unpack a release of ort_runner" in str(error)


def test_a_program_that_is_not_there(phone, files):
    error = failure(phone, files, adb={"runner": "/nowhere/ort_runner"})
    assert error.failure == "no_runner"
    assert "there is no file /nowhere/ort_runner" in str(error)


def test_a_phone_that_is_full(phone, files):
    phone.full = True
    error = failure(phone, files)
    assert error.failure == "disk_full"
    assert "no space is left on the phone" in str(error)


def test_a_folder_that_cannot_be_written(phone, files):
    error = failure(phone, files, adb={"folder": "/proc/edgeprune"})
    assert error.failure == "folder"


def test_a_runner_for_another_processor(phone, files):
    text = "not executable: 64-bit ELF file"
    phone.runner.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 126\n")
    error = failure(phone, files)
    assert error.failure == "architecture"
    assert "take the one for arm64" in str(error)


def test_a_library_that_is_not_loaded(phone, files):
    text = "error: loading ONNX Runtime: dlopen failed: library libonnxruntime.so"
    phone.runner.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")
    error = failure(phone, files)
    assert error.failure == "no_runtime"
    assert "adb.library" in str(error)


def test_something_that_is_no_runner(phone, files):
    phone.runner.write_text("#!/bin/sh\necho hello\n")
    error = failure(phone, files)
    assert error.failure == "protocol"
    assert "is it an ort_runner?" in str(error)


def test_a_runner_that_prints_something_else(phone, files):
    text = phone.runner.read_text().splitlines()
    text.insert(1, 'case "$*" in *--model*) echo "{}"; exit 0;; esac')
    phone.runner.write_text("\n".join(text) + "\n")
    error = failure(phone, files)
    assert error.failure == "protocol"
    assert "ort_runner 0.7 is known to work" in str(error)


def test_a_runner_that_is_killed(phone, files):
    text = phone.runner.read_text().splitlines()
    text.insert(1, 'case "$*" in *--model*) kill -9 $$;; esac')
    phone.runner.write_text("\n".join(text) + "\n")
    error = failure(phone, files)
    assert error.failure == "killed"
    assert "out of memory?" in str(error)


def test_a_file_that_is_no_model(phone, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    error = failure(phone, [path])
    assert error.failure == "load"
    assert "the runner fails on bad.onnx: loading the model" in str(error)


@pytest.mark.parametrize("state", [{"warmth": 380}, {"thermal": 2}])
def test_a_phone_that_is_hot(phone, files, state):
    phone.be(**state)
    error = failure(phone, files)
    assert error.failure == "hot"
    assert "let it cool down" in str(error)


def test_a_phone_that_cools_down_is_waited_for(phone, files):
    phone.be(warmth=400)
    phone.command("sleep", "echo 300 > ${0%/*}/warmth\n")
    assert runner_for(phone.target()).time(files, BRIEF)


def test_a_measurement_that_takes_too_long(phone, files):
    error = failure(phone, files, LONG, limits={"job_s": 2})
    assert error.failure == "timeout"
    assert "did not answer within 2 s" in str(error)
    assert_gone(phone)


def assert_gone(phone):
    """No runner works on the phone any more."""
    wait_for(lambda: not runners(phone), 15)


def runners(phone):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"runner.py" in words and str(phone.folder).encode() in words:
                found.append(entry.name)
    return found


def test_a_phone_that_is_unplugged(phone, files):
    runner = runner_for(phone.target())
    assert runner.device
    found = []

    def measure():
        try:
            runner.transport.run(Job("time", runner.target.runtime, LONG), files)
        except DeviceError as error:
            found.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_for(lambda: runners(phone))
    phone.unplug()
    thread.join(30)
    assert found[0].failure == "lost"
    assert_gone(phone)


def test_nothing_runs_on_when_the_caller_is_killed(phone, files):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from edgeprune import targets
from edgeprune.devices.runner import runner_for
from tests.devices.test_adb import LONG
held = targets.Target.model_validate_json({phone.target().model_dump_json()!r})
runner_for(held).time([Path({str(files[0])!r})], LONG)
"""
    with running(code):
        wait_for(lambda: runners(phone))
    assert_gone(phone)


def test_the_state_of_a_phone_is_read():
    state = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 74
  temperature: 312
Thermal Status: 1
1804800
"""
    found = conditions_of(state)
    assert found["battery_c"] == 31.2
    assert found["battery_percent"] == 74
    assert found["charging"] is True
    assert found["throttled"] is True
    assert found["frequency_mhz"] == 1804.8
    assert set(conditions_of("").values()) == {None}
