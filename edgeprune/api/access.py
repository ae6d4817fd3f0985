"""From settings to the runner that reaches the target's device, or estimates it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from edgeprune import targets
from edgeprune.devices.foreign import read_measurements
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.errors import DeviceError, ReportError, TargetError
from edgeprune.estimate.known import known_device
from edgeprune.estimate.transport import EstimatedTransport
from edgeprune.progress import LOGGER
from edgeprune.records import Measurements
from edgeprune.settings.parts import TargetSettings

# What a device may have against being measured, though it is there.
IN_THE_WAY = frozenset(["load", "run", "profile", "provider", "protocol", "timeout"])


@dataclass(frozen=True)
class Access:
    """How a target is measured in a command.

    Attributes:
        estimated: by what is known of it, in place of the device.
        told: times that somebody took there.
    """

    target: targets.Target
    seed: int
    estimated: bool = False
    told: Measurements | None = None

    def runner(self, batch: int = 1) -> Runner:
        """What measures there.

        Args:
            batch: length of an axis that a file leaves open.
        """
        if not self.estimated:
            return runner_for(self.target, seed=self.seed, batch=batch)
        transport = EstimatedTransport(self.target, self.told)
        return Runner(self.target, transport, self.seed, batch, estimates=True)


def access_to(settings: TargetSettings) -> Access:
    """Ask a device what it is, before anything is loaded for it.

    Raises:
        TargetError: there is no such target, or nothing to estimate it by.
        ReportError: the measurements cannot be read, or are of another target.
        DeviceError: it cannot be reached, or lacks something; the sentence says what
            is known of it all the same.
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
        known_device(target)
        return Access(target, settings.seed, estimated=True, told=told)
    if target.transport in ("host", "fake"):
        return Access(target, settings.seed)
    try:
        with closing(runner_for(target)) as runner:
            LOGGER.info("%s: %s", target.name, runner.device.runtime)
    except DeviceError as error:
        if error.failure in IN_THE_WAY:
            raise
        if not settings.allow_estimate:
            raise DeviceError(error.failure, f"{error}{instead_of(target)}") from error
        known_device(target)
        LOGGER.info("%s Its times are estimated.", error)
        return Access(target, settings.seed, estimated=True)
    return Access(target, settings.seed)


def instead_of(target: targets.Target) -> str:
    """What could be done without the device, as a sentence."""
    try:
        basis = known_device(target).basis
    except TargetError:
        return ""
    return f" Without it: --allow-estimate goes by {basis}."
