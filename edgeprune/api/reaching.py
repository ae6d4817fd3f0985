"""From settings to the runner that reaches the target's device, or estimates it."""

from __future__ import annotations

from contextlib import closing

from edgeprune import targets
from edgeprune.devices.foreign import read_measurements
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.errors import DeviceError, ReportError, TargetError
from edgeprune.estimate.known import known_device
from edgeprune.estimate.transport import EstimatedTransport
from edgeprune.progress import LOGGER
from edgeprune.settings.parts import TargetSettings

# What a device may have against being measured, though it is there.
IN_THE_WAY = frozenset(["load", "run", "profile", "provider", "protocol", "timeout"])


def reached(settings: TargetSettings, *, batch: int = 1) -> Runner:
    """The runner of a target.

    Raises:
        TargetError: there is no such target, or nothing to estimate it by.
        ReportError: the measurements cannot be read.
    """
    target = targets.load(settings.target)
    by_hand = settings.measurements is not None or settings.allow_estimate
    if by_hand and getattr(settings, "precision", "fp32") == "int8":
        message = (
            "--precision int8: how fast int8 is on a device only the device can say: "
            "connect it, or leave --precision out."
        )
        raise TargetError(message)
    if settings.measurements is not None:
        told = read_measurements(settings.measurements)
        if told.target != target.name:
            message = (
                f"--measurements {settings.measurements} has times of {told.target}, "
                f"not of {target.name}."
            )
            raise ReportError(message)
        transport = EstimatedTransport(target, told)
        return Runner(target, transport, settings.seed, batch)
    if settings.allow_estimate and not _answers(target):
        return Runner(target, EstimatedTransport(target), settings.seed, batch)
    return runner_for(target, seed=settings.seed, batch=batch)


def check_reach(settings: TargetSettings) -> None:
    """Ask a device what it is, before anything is loaded for it.

    Raises:
        DeviceError: it cannot be reached, or lacks something; the sentence says what
            is known of it all the same.
    """
    target = targets.load(settings.target)
    by_hand = settings.measurements is not None or settings.allow_estimate
    if target.transport in ("host", "fake") or by_hand:
        reached(settings).close()
        return
    with closing(runner_for(target)) as runner:
        try:
            LOGGER.info("%s: %s", target.name, runner.device.runtime)
        except DeviceError as error:
            if error.failure in IN_THE_WAY:
                raise
            raise DeviceError(error.failure, f"{error}{_instead(target)}") from error


def _instead(target: targets.Target) -> str:
    """What could be done without the device, as a sentence."""
    try:
        basis = known_device(target).basis
    except TargetError:
        return ""
    return f" Without it: --allow-estimate goes by {basis}."


def _answers(target: targets.Target) -> bool:
    if target.transport in ("host", "fake"):
        return True
    with closing(runner_for(target)) as runner:
        try:
            return bool(runner.device.runtime)
        except DeviceError as error:
            LOGGER.info("%s Its times are estimated.", error)
            return False
