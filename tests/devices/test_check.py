"""Whether a device can be measured, what is wrong, and what it lacks."""

from dataclasses import replace

import pytest

import edgeprune
from edgeprune import targets
from edgeprune.devices.check import check_device, version_of
from edgeprune.devices.runner import Runner
from edgeprune.devices.setup import Step, carry_out, steps_for
from edgeprune.devices.transports import FakeTransport
from edgeprune.errors import DeviceError
from edgeprune.records import DeviceCheck
from tests.boards import board
from tests.made_up import FAKE

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine


class Told(FakeTransport):
    """A device that says of itself what a test wants."""

    def __init__(self, machine=(), state=(), runtime="onnxruntime 1.32.0"):
        super().__init__()
        self._more = {"machine": dict(machine), "state": dict(state)}
        self._runtime = runtime

    def run(self, job, files):
        answer = super().run(job, files)
        machine = {**answer["machine"], **self._more["machine"]}
        state = self._more["state"]
        changed = {"machine": machine, "conditions": [state, state]}
        return {**answer, **changed, "runtime": self._runtime}


def warnings(changed=None, limits=None, **told):
    target = targets.load(FAKE)
    if changed:
        runtime = {**target.runtime.model_dump(), **changed}
        target = targets.Target.model_validate(
            {**target.model_dump(), "runtime": runtime}
        )
    if limits:
        target = targets.Target.model_validate(
            {**target.model_dump(), "limits": limits}
        )
    return check_device(Runner(target, Told(**told))).warnings


def test_this_machine_can_be_measured():
    found = edgeprune.check_target("host")
    assert found.usable
    assert found.provider == "CPUExecutionProvider"
    assert found.device.runtime.startswith("onnxruntime")
    assert "CPUExecutionProvider" in found.device.providers
    assert found.seconds > 0


def test_a_calm_device_has_nothing_against_it():
    assert warnings() == ()


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"runtime": "onnxruntime 1.16.3"}, "is older than 1.17"),
        (
            {"runtime": "onnxruntime 1.25.1", "machine": {"features": ("sme",)}},
            "remembers convolutions by a hash of their inputs",
        ),
        ({"state": {"throttled": True}}, "slowed down, by heat or a weak supply"),
        ({"state": {"temperature_c": 81.0}}, "it has 81 degrees"),
        ({"state": {"governor": "powersave"}}, "governor of its clock is powersave"),
        ({"state": {"load": 3.2}}, "something else runs there: its load is 3.2"),
    ],
)
def test_what_makes_times_worse_is_said(told, complaint):
    (warning,) = warnings(**told)
    assert complaint in warning


def test_settings_that_do_not_fit_the_device_are_said():
    assert "there are 4 cores" in warnings({"threads": 6})[0]
    assert "set runtime.int8_activations" in warnings({"int8_activations": "signed"})[0]
    assert "limits.memory_mb is 4096" in warnings(limits={"memory_mb": 4096})[0]


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("onnxruntime 1.32.0", (1, 32, 0)),
        ("onnxruntime-web 1.30.0 wasm", (1, 30, 0)),
        ("something", ()),
    ],
)
def test_the_version_is_read(runtime, expected):
    assert version_of(runtime) == expected


FAILED = DeviceCheck("pi", "ssh", None, "no_runtime", "it lacks numpy")


def test_what_a_board_lacks_becomes_commands():
    target = targets.load("raspberry-pi-4")
    commands = [step.command for step in steps_for(target, FAILED)]
    assert commands == [
        "mkdir -p .edgeprune && python3 -m venv .edgeprune/venv",
        ".edgeprune/venv/bin/python -m pip install --upgrade numpy onnxruntime",
    ]
    first, *_ = steps_for(target, replace(FAILED, failure="no_python"))
    assert not first.alone
    assert steps_for(target, replace(FAILED, failure="key")) == []
    assert steps_for(target, replace(FAILED, failure="")) == []


def test_an_interpreter_that_is_named_gets_the_packages():
    target = targets.load("raspberry-pi-4")
    ssh = target.ssh.model_copy(update={"python": "~/venv/bin/python"})
    target = target.model_copy(update={"ssh": ssh})
    (step,) = steps_for(target, FAILED)
    assert step.command.startswith('"$HOME"/venv/bin/python -m pip install')


def test_steps_are_carried_out_on_the_board(tmp_path):
    lines = []
    with board(tmp_path) as pi:
        target = pi.target()
        steps = [Step("a file", "echo done > $HOME/made")]
        carry_out(target, steps, lines.append, pi.transport())
        assert (pi.home / "made").read_text() == "done\n"
        assert lines == ["a file: echo done > $HOME/made"]
        bad = [Step("more", "echo no such package >&2; exit 3")]
        with pytest.raises(DeviceError, match="more: the command fails: no such pack"):
            carry_out(target, bad, lines.append, pi.transport())
        root = [Step("Python", "sudo apt-get install python3", alone=False)]
        with pytest.raises(DeviceError, match="which only root can install: run `sudo"):
            carry_out(target, root, lines.append, pi.transport())
