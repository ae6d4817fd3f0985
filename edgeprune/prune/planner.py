"""Budget to plan: the widths with the least loss that fit, found and then measured.

Widths step down a ladder of channel counts that the runtime likes. Each step is the
one that loses least per relief of the budget. Every plan is exported and measured, the
estimate corrected by what was found, and planned again, until it fits closely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.prune.cost_model import CostModel, Widths
from edgeprune.records import Attempt, Budget, Plan, pressure_of

AIM = 0.95  # of a limit: a little room for the noise of the final measurement
CLOSE = 0.88  # of a limit: near enough not to search on
ROUNDS = 5

Measure = Callable[[Plan, int, float | None], Attempt]


@dataclass(frozen=True)
class Search:
    """What the closed loop found.

    Attributes:
        plan: the one nearest below the limits; the fastest one where none fits.
        fits: whether it is within all limits.
    """

    plan: Plan
    attempt: Attempt
    fits: bool


@dataclass(frozen=True)
class Problem:
    """What a plan is searched for.

    Attributes:
        scores: comparable between groups, shape (channels,) each.
        step: by how many channels the runtime wants layers to shrink.
    """

    graph: ChannelGraph
    scores: Mapping[str, Tensor]
    model: CostModel
    budget: Budget
    step: int


def search(problem: Problem, measure: Measure) -> Search:
    """Plan, measure and correct until the measured network fits the budget closely.

    Args:
        measure: applies a plan, exports it and measures the file.
    """
    found: list[tuple[Plan, Attempt]] = []
    correction, budget = 1.0, problem.budget
    while len(found) < ROUNDS:
        widths = choose_widths(replace(problem, budget=_aim(budget, correction)))
        predicted_ms = problem.model.predict(widths).latency_ms * correction
        plan = plan_of(problem.graph, problem.scores, widths)
        if any(plan == earlier for earlier, _ in found):
            if _best(found, budget)[1].within_budget or problem.step == 1:
                break
            # The ladder's lowest rungs do not reach it: finer ones.
            problem = replace(problem, step=problem.step // 2)
            continue
        attempt = measure(plan, len(found) + 1, predicted_ms)
        found.append((plan, attempt))
        correction *= attempt.latency_ms / predicted_ms
        if attempt.within_budget and pressure_of(attempt, budget) >= CLOSE:
            break
    plan, attempt = _best(found, budget)
    return Search(plan, attempt, attempt.within_budget)


def smallest(graph: ChannelGraph, scores: Mapping[str, Tensor], step: int) -> Plan:
    """The plan at the bottom of every ladder: the fastest network within reach."""
    widths = {group.name: ladder(group, step)[0] for group in graph.groups}
    return plan_of(graph, scores, widths)


def choose_widths(problem: Problem) -> dict[str, int]:
    """Step down where the least is lost per relief, until the prediction fits.

    Returns:
        A width for every group; the smallest ones where nothing fits.
    """
    groups, model, budget = problem.graph.groups, problem.model, problem.budget
    rungs = {group.name: ladder(group, problem.step) for group in groups}
    losses = {group.name: lost(problem.scores[group.name]) for group in groups}
    widths = {name: steps[-1] for name, steps in rungs.items()}
    pressure = pressure_of(model.predict(widths), budget)
    while pressure > 1:
        best: tuple[float, str, int, float] | None = None
        for name, width in widths.items():
            lower = _next_lower(rungs[name], width)
            if lower is None:
                continue
            relieved = pressure_of(model.predict({**widths, name: lower}), budget)
            gain = pressure - relieved
            price = (losses[name][lower] - losses[name][width]) / max(gain, 1e-12)
            if best is None or price < best[0]:
                best = (price, name, lower, relieved)
        if best is None:
            break
        _, name, lower, pressure = best
        widths[name] = lower
    return widths


def ladder(group: Group, step: int) -> list[int]:
    """Rising widths at which the layer's output is a multiple of step, and its own."""
    unit = step // math.gcd(step, group.granularity)
    return [*range(unit, group.size, unit), group.size]


def lost(scores: Tensor) -> list[float]:
    """Loss of keeping the best w channels, for w = 0 .. channels.

    The lowest scores go first. Each counts for more the fewer are left: what remains
    has to do the work of what went.
    """
    size = len(scores)
    rising = sorted(scores.tolist())
    losses, total = [0.0] * (size + 1), 0.0
    for gone, score in enumerate(rising):
        total += score * size / (size - gone)
        losses[size - gone - 1] = total
    return losses


def plan_of(graph: ChannelGraph, scores: Mapping[str, Tensor], widths: Widths) -> Plan:
    """Keep the channels with the largest scores."""
    kept: dict[str, tuple[int, ...]] = {}
    for group in graph.groups:
        width = widths.get(group.name, group.size)
        if width < group.size:
            order = scores[group.name].argsort(descending=True, stable=True)
            kept[group.name] = tuple(sorted(order[:width].tolist()))
    return Plan(kept)


def _aim(budget: Budget, correction: float) -> Budget:
    if budget.latency_ms is None:
        return budget
    return replace(budget, latency_ms=budget.latency_ms * AIM / correction)


def _next_lower(rungs: list[int], width: int) -> int | None:
    index = rungs.index(width)
    return rungs[index - 1] if index else None


def _best(found: list[tuple[Plan, Attempt]], budget: Budget) -> tuple[Plan, Attempt]:
    """The one that keeps most and fits; the nearest to the budget where none fits."""
    fitting = [pair for pair in found if pair[1].within_budget]
    if fitting:
        return max(fitting, key=lambda pair: pair[1].kept_share)
    return min(found, key=lambda pair: pressure_of(pair[1], budget))
