"""Whether a device can be measured, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.records.device import Device


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """The answer of `edgeprune targets check`.

    Attributes:
        device: None where it cannot be reached or lacks something.
        failure: what is wrong, in one word; empty if nothing is.
        problem: what is wrong and what to do, as a sentence.
        provider: that really ran a small network there.
        warnings: what makes its times worse, or hard to compare.
        seconds: that the check took.
    """

    target: str
    transport: str
    device: Device | None
    failure: str = ""
    problem: str = ""
    provider: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether it can be measured."""
        return not self.failure
