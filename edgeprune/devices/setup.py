"""What a device lacks before it can be measured, as commands, and running them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprune.devices.check import check_device
from edgeprune.devices.command import CommandFailed, output_of
from edgeprune.devices.runner import runner_for
from edgeprune.devices.transports.ssh import SshTransport, at_home
from edgeprune.errors import DeviceError
from edgeprune.records import DeviceCheck
from edgeprune.targets import Target

PACKAGES = ("numpy", "onnxruntime")
STEP_S = 900
BY_HAND = {
    "no_python": "sudo apt-get install -y python3 python3-venv",
    "old_python": "sudo apt-get install -y python3 python3-venv",
}


@dataclass(frozen=True)
class Step:
    """One thing to do on the device.

    Attributes:
        command: for a shell there.
        alone: it can be done without being root.
    """

    what: str
    command: str
    alone: bool = True


def steps_for(target: Target, check: DeviceCheck) -> list[Step]:
    """What has to be done, by what a check has found; nothing if nothing is missing."""
    if target.transport != "ssh" or check.usable:
        return []
    if check.failure in BY_HAND:
        command = BY_HAND[check.failure]
        return [Step("Python 3.9 or newer", command, alone=False), *_packages(target)]
    if check.failure in ("no_runtime", "runtime"):
        return _packages(target)
    return []


def _packages(target: Target) -> list[Step]:
    folder = at_home(target.ssh.folder)
    if target.ssh.python is not None:
        python = at_home(target.ssh.python)
        return [_install(python)]
    return [
        Step(
            "an environment of its own",
            f"mkdir -p {folder} && python3 -m venv {folder}/venv",
        ),
        _install(f"{folder}/venv/bin/python"),
    ]


def _install(python: str) -> Step:
    packages = " ".join(map(shlex.quote, PACKAGES))
    return Step(
        "the packages that measuring needs",
        f"{python} -m pip install --upgrade {packages}",
    )


def carry_out(
    target: Target,
    steps: Sequence[Step],
    told: Callable[[str], None],
    transport: SshTransport | None = None,
) -> None:
    """Run the steps on a board that ssh reaches.

    Raises:
        DeviceError: one fails, or needs somebody who may do more.
    """
    held = transport or SshTransport(target)
    try:
        for step in steps:
            if not step.alone:
                message = (
                    f"Target {target.name!r}: {step.what} is missing, which only root "
                    f"can install: run `{step.command}` there, and this again."
                )
                raise DeviceError("root", message)
            told(f"{step.what}: {step.command}")
            _run(target, held.command(f"sh -c {shlex.quote(step.command)}"), step)
    finally:
        held.close()


def _run(target: Target, command: Sequence[str], step: Step) -> None:
    try:
        output_of(command, STEP_S)
    except CommandFailed as failed:
        message = f"Target {target.name!r}: {step.what}: the command {failed}."
        raise DeviceError("setup", message) from failed


def set_up(target: Target, told: Callable[[str], None], *, yes: bool = False) -> bool:
    """Say what a target's device lacks, and install it if asked to.

    Args:
        told: is given each line.

    Returns:
        Whether the device can be measured now.

    Raises:
        DeviceError: a step fails.
    """
    check = check_device(runner_for(target))
    steps = steps_for(target, check)
    if check.usable:
        told(f"{target.name} lacks nothing.")
        return True
    told(check.problem)
    if not steps:
        return False
    if not yes:
        told("On the device, or by this command with --yes:")
        for step in steps:
            told(f"  {step.command}")
        return False
    carry_out(target, steps, told)
    check = check_device(runner_for(target))
    told(check.problem or f"{target.name} lacks nothing any more.")
    return check.usable
