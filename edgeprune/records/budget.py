"""What a network may cost, and how much of that it uses up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, any number together; None is no limit."""

    latency_ms: float | None = None
    macs: int | None = None
    params: int | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None


class Costs(Protocol):
    """Anything with the four costs that a budget can limit."""

    @property
    def latency_ms(self) -> float:
        """Median."""
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
        """Of the ONNX file."""
        ...

    @property
    def memory_bytes(self) -> float:
        """Of the activations that are alive at once, at most."""
        ...


def pressure_of(costs: Costs, budget: Budget) -> float:
    """The largest share of any limit that is used up; at most 1 is within budget."""
    pairs = (
        (costs.latency_ms, budget.latency_ms),
        (costs.macs, budget.macs),
        (costs.params, budget.params),
        (costs.size_bytes, budget.size_bytes),
        (costs.memory_bytes, budget.memory_bytes),
    )
    return max(
        (cost / limit for cost, limit in pairs if limit is not None), default=0.0
    )
