"""From budgets as they are given to upper limits."""

from __future__ import annotations

from dataclasses import replace

from edgeprune.records import Budget, Costs, ModelFigures
from edgeprune.settings import BudgetSettings
from edgeprune.targets import Limits

MEGABYTE = 1_000_000
NOISE = 1.02  # times as long is not slower
Given = float | str | None


def budget_of(settings: BudgetSettings, costs: Costs) -> Budget:
    """The upper limits that were asked for.

    A share of the original's time stays a share: it is judged within one measurement.
    Shares of all else, which do not vary, become counts.

    Args:
        costs: of the original.
    """
    time = settings.budget_ms
    return Budget(
        latency_ms=None if isinstance(time, str) else time,
        latency_ratio=_share(time) if isinstance(time, str) else None,
        macs=_limit(settings.max_macs, costs.macs),
        params=_limit(settings.max_params, costs.params),
        size_bytes=_limit(settings.max_size_mb, costs.size_bytes, MEGABYTE),
        memory_bytes=_limit(settings.max_memory_mb, costs.memory_bytes, MEGABYTE),
    )


def within_device(budget: Budget, device: Limits, costs: Costs) -> Budget:
    """The budget, and what the device has no room for.

    What the original keeps already is never broken by pruning it. A run without a
    budget, which ends at the accuracy floor, is only checked at its end.
    """
    if budget == Budget():
        return budget
    size = _tighter(budget.size_bytes, device.file_mb, costs.size_bytes)
    memory = _tighter(budget.memory_bytes, device.memory_mb, costs.memory_bytes)
    return replace(budget, size_bytes=size, memory_bytes=memory)


def beyond_device(figures: ModelFigures, device: Limits) -> str:
    """Say which limit of the device a file breaks; empty if none."""
    parts = (
        ("file", figures.size_bytes, device.file_mb),
        ("process", figures.memory.process_peak_bytes, device.memory_mb),
    )
    broken = [
        f"its {what} takes {found / MEGABYTE:.4g} MB, the target's limit is {most:g} MB"
        for what, found, most in parts
        if found and most and found > most * MEGABYTE
    ]
    return " and ".join(broken)


def _tighter(asked: int | None, device_mb: float | None, found: float) -> int | None:
    """The smaller of a budget and a limit that is broken now."""
    if device_mb is None or found <= device_mb * MEGABYTE:
        return asked
    limit = max(1, round(device_mb * MEGABYTE))
    return limit if asked is None else min(asked, limit)


def never_slower(budget: Budget) -> Budget:
    """The budget; where it does not limit time, no more of it than the original.

    As far as times tell: those of small networks differ by a percent.
    """
    if budget.limits_time or budget == Budget():
        return budget
    return replace(budget, latency_ratio=NOISE)


def relaxed(limits: Budget, goal: float, costs: Costs) -> Budget:
    """Limits of a round that goes only part of the way, and never gets slower.

    Args:
        goal: times the limits, at least 1.
        costs: of the network that the first round starts from.
    """
    wider = limits.with_time_scaled(goal)
    latency_ms, ratio = wider.latency_ms, wider.latency_ratio
    if latency_ms is not None:
        latency_ms = min(latency_ms, costs.latency_ms)
    if ratio is not None and costs.latency_ratio is not None:
        ratio = min(ratio, costs.latency_ratio)
    return Budget(
        latency_ms=latency_ms,
        latency_ratio=ratio,
        macs=_times(limits.macs, goal),
        params=_times(limits.params, goal),
        size_bytes=_times(limits.size_bytes, goal),
        memory_bytes=_times(limits.memory_bytes, goal),
    )


def _share(given: str) -> float:
    return float(given.removesuffix("%")) / 100


def _limit(given: Given, whole: float, unit: int = 1) -> int | None:
    """A limit in its unit, or as a share of the whole; at least one of it."""
    if given is None:
        return None
    limit = _share(given) * whole if isinstance(given, str) else given * unit
    return max(1, round(limit))


def _times(limit: int | None, goal: float) -> int | None:
    return None if limit is None else round(limit * goal)
