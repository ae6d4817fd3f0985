"""Devices: what they are, in which state they are, and what they take for long."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.units import milliseconds


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured; None is what could not be read.

    Attributes:
        features: instructions of the processor that decide how fast a kernel is.
    """

    system: str
    architecture: str
    cpu: str | None
    cores: int
    memory_bytes: int | None
    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a device's speed hangs on, before or after a measurement; None is unknown.

    Attributes:
        load: processes that want to run, on average over the last minute.
        throttled: slowed down by heat or a weak supply.
        battery_c: its temperature, and `battery_percent` how full it is.
        thermal_status: of Android: 0 is none, 3 is severe.
    """

    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    load: float | None = None
    throttled: bool | None = None
    battery_percent: float | None = None
    battery_c: float | None = None
    charging: bool | None = None
    thermal_status: int | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it describes itself.

    Attributes:
        runtime: its name and version.
        providers: that the runtime has been built with.
        conditions: as it is now.
    """

    machine: Machine
    runtime: str
    providers: tuple[str, ...] = ()
    conditions: Conditions = Conditions()


@dataclass(frozen=True, slots=True)
class Sustained:
    """A file that ran without a pause for long.

    Attributes:
        seconds: that it was asked to.
        minutes_ms: the median of each minute.
        conditions: after each of them.
    """

    seconds: float
    minutes_ms: tuple[float, ...]
    conditions: tuple[Conditions, ...] = ()

    @property
    def slowdown(self) -> float:
        """The slowest minute as a multiple of the first one."""
        return max(self.minutes_ms) / self.minutes_ms[0]

    @property
    def text(self) -> str:
        """What it took at first, at worst and at last."""
        first, last = self.minutes_ms[0], self.minutes_ms[-1]
        if len(self.minutes_ms) == 1:
            return f"for {self.seconds:.0f} s without a pause: {milliseconds(first)}"
        return (
            f"for {self.seconds / 60:.3g} min without a pause: {milliseconds(first)} "
            f"in the first minute, {milliseconds(last)} in the last one, at most "
            f"{self.slowdown:.2f}x the first"
        )
