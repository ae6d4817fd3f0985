"""Budgets, and the share of them that a network uses up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

COUNTED = ("macs", "params", "size_bytes", "memory_bytes")  # limits that are not time


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, any number together; None is no limit.

    Attributes:
        latency_ms: in milliseconds of the baseline's reference time.
        latency_ratio: as a share of the baseline's time; judged within one measurement,
            so that no reference is needed.

    Example:
        >>> import edgeprune
        >>> budget = edgeprune.Budget(latency_ratio=0.5, macs=60_000_000)
        >>> budget.most_ms(reference_ms=12.0)
        6.0
    """

    latency_ms: float | None = None
    macs: int | None = None
    params: int | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    latency_ratio: float | None = None

    @property
    def limits_time(self) -> bool:
        """Whether there is a limit on time."""
        return self.latency_ms is not None or self.latency_ratio is not None

    def most_ms(self, reference_ms: float) -> float | None:
        """The time that is allowed where the baseline takes so much; None for any."""
        limits = [] if self.latency_ms is None else [self.latency_ms]
        if self.latency_ratio is not None:
            limits.append(self.latency_ratio * reference_ms)
        return min(limits, default=None)

    def with_time_scaled(self, factor: float) -> Budget:
        """The same, with the limit on time multiplied by a factor."""
        return replace(
            self,
            latency_ms=_times(self.latency_ms, factor),
            latency_ratio=_times(self.latency_ratio, factor),
        )

    def with_counts_scaled(self, factors: Mapping[str, float]) -> Budget:
        """The same, with limits on what is counted multiplied by factors.

        Args:
            factors: by the names of limits, such as macs; 1 where there is none.
        """
        limits = {name: getattr(self, name) for name in factors}
        scaled = {
            name: max(1, int(limit * factors[name]))
            for name, limit in limits.items()
            if limit is not None
        }
        return replace(self, **scaled)

    def without_time(self) -> Budget:
        """All other limits."""
        return replace(self, latency_ms=None, latency_ratio=None)


class Costs(Protocol):
    """Anything with the costs that a budget can limit."""

    @property
    def latency_ms(self) -> float:
        """Median, in milliseconds of the baseline's reference time."""
        ...

    @property
    def latency_ratio(self) -> float | None:
        """Time as a share of the baseline's; None where that was never measured."""
        ...

    @property
    def macs(self) -> float:
        """Multiply-accumulates of one call."""
        ...

    @property
    def params(self) -> float:
        """Number of weights."""
        ...

    @property
    def size_bytes(self) -> float:
        """The size of the ONNX file."""
        ...

    @property
    def memory_bytes(self) -> float:
        """The most bytes of activations that are alive at once."""
        ...


def pressure_of(costs: Costs, budget: Budget) -> float:
    """The largest share of any limit that is used up; at most 1 is within budget."""
    pairs = [(getattr(costs, name), getattr(budget, name)) for name in COUNTED]
    shares = [cost / limit for cost, limit in pairs if limit is not None]
    if budget.limits_time:
        shares.append(time_pressure(costs, budget))
    return max(shares, default=0.0)


def time_pressure(costs: Costs, budget: Budget) -> float:
    """The share of a limit on time that is used up.

    A share of the baseline's time is compared as a share, and milliseconds as
    milliseconds.
    """
    shares: list[float] = []
    if budget.latency_ms is not None:
        shares.append(costs.latency_ms / budget.latency_ms)
    if budget.latency_ratio is not None:
        assert costs.latency_ratio is not None  # all that is judged was timed in pairs
        shares.append(costs.latency_ratio / budget.latency_ratio)
    return max(shares)


def _times(limit: float | None, factor: float) -> float | None:
    return None if limit is None else limit * factor
