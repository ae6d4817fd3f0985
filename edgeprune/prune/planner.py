"""Budget to plan: solve, export, measure, correct, until it fits closely.

The solver chooses by prediction. What it chose is applied, exported and measured
beside the baseline, and the limit corrected by what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgeprune.graph.groups import ChannelGraph
from edgeprune.prune.cost_model import CostModel, Prediction
from edgeprune.prune.exchange import exchange
from edgeprune.prune.loss import Loss
from edgeprune.prune.solver import Solution, fastest, least_loss, params_left
from edgeprune.records import Attempt, Budget, Plan, pressure_of

AIM = (0.97, 0.98, 0.98)  # of a limit in ms, by round: room for noise, and for error
CLOSE = 0.94  # of a limit: near enough not to search on
ROUNDS = len(AIM)
HALVED = 8  # times at most, the range of the number of parameters that are left
SETTLED = 0.01  # of the weights come from memory or not: of no more importance
CORRECTED = 2  # solutions at most that take longer than predicted
NEARLY = 1.01  # of a limit: sums of groups are taken as straight lines

Measure = Callable[[Plan, int, Solution, Prediction], Attempt]


@dataclass(frozen=True)
class Search:
    """What the closed loop found.

    Attributes:
        plan: of those below the limits the most accurate one before training; the
            nearest where none is.
        fits: whether it is within all limits.
        notes: what the solver has to say.
    """

    plan: Plan
    attempt: Attempt
    fits: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What a plan is searched for.

    Attributes:
        scores: by group, shape (channels,): which channels of it stay.
        error: of a plan's network; what losses only estimate. None where it is not
            known before training, as of a wider one.
    """

    graph: ChannelGraph
    scores: Mapping[str, Tensor]
    model: CostModel
    loss: Loss
    budget: Budget
    error: Callable[[Plan], float] | None = None

    def error_of(self, solution: Solution) -> float:
        """Of the network that a solution makes."""
        assert self.error is not None  # checked by the caller
        return self.error(plan_of(self.graph, self.scores, solution))


def search(problem: Problem, measure: Measure) -> Search:
    """Solve, measure and correct until the measured network fits the budget closely.

    Args:
        measure: applies a plan, exports it and measures the file.
    """
    found: list[tuple[Plan, Attempt]] = []
    notes: list[str] = []
    correction, budget = 1.0, problem.budget
    while len(found) < ROUNDS:
        limits = aimed(budget, AIM[len(found)] / correction)
        settled = solution = settle(problem.model, problem.loss, limits)
        notes += [solution.note] if solution.note else []
        if solution.feasible and problem.error is not None:
            solution = exchange(problem.model, solution, limits, problem.error_of)
        plan = plan_of(problem.graph, problem.scores, solution)
        if any(plan == earlier for earlier, _ in found):
            break
        expected = _expected(problem, solution, correction)
        attempt = measure(plan, len(found) + 1, solution, expected)
        found.append((plan, attempt))
        correction *= attempt.latency_ms / expected.latency_ms
        if attempt.within_budget and pressure_of(attempt, budget) >= CLOSE:
            other = plan_of(problem.graph, problem.scores, settled)
            if attempt.accuracy is not None and other != plan:
                expected = _expected(problem, settled, correction)
                rival = measure(other, len(found) + 1, settled, expected)
                found.append((other, rival))
            break
    plan, attempt = _best(found, budget)
    return Search(plan, attempt, attempt.within_budget, tuple(dict.fromkeys(notes)))


def _expected(problem: Problem, solution: Solution, correction: float) -> Prediction:
    found = problem.model.predict(solution.widths, solution.bypassed)
    return replace(found, latency_ms=found.latency_ms * correction)


def settle(model: CostModel, loss: Loss, budget: Budget) -> Solution:
    """The least loss, with as many weights in the cache as the solution has there.

    How much of the weights the processor's cache holds depends on how many are left,
    which the solution decides.
    """
    limit = budget.latency_ms
    if limit is None:
        return least_loss(model, loss, budget)
    start = time.perf_counter()
    params, share = _settled(model, loss, budget), 1.0
    solution = least_loss(model, loss, budget, params=params)
    for _ in range(CORRECTED):
        found = model.predict(solution.widths, solution.bypassed)
        if not solution.feasible or found.latency_ms <= NEARLY * limit:
            break
        share *= limit / found.latency_ms
        within = replace(budget, latency_ms=share * limit)
        solution = least_loss(model, loss, within, params=found.params)
    return replace(solution, seconds=time.perf_counter() - start)


def _settled(model: CostModel, loss: Loss, budget: Budget) -> float:
    """The number of parameters with which a solution leaves just about so many.

    Too large a number makes everything slower, so that fewer are left, and too small
    a one more: it is searched between the two.
    """
    low, high = 0.0, model.predict({}).params
    params = high
    for _ in range(HALVED):
        if model.missed(high) - model.missed(low) < SETTLED:
            break
        left = params_left(model, loss, budget, params)
        if left is None:
            high = params
        elif left < params:
            low, high = max(low, left), params
        else:
            low = params
        params = (low + high) / 2
    return high


def smallest(graph: ChannelGraph, model: CostModel, budget: Budget) -> Plan:
    """The fastest network within the other limits, by prediction."""
    solution = fastest(model, budget=replace(budget, latency_ms=None), params=0.0)
    scores = {group.name: torch.zeros(group.size) for group in graph.groups}
    return plan_of(graph, scores, solution)


def plan_of(
    graph: ChannelGraph, scores: Mapping[str, Tensor], solution: Solution
) -> Plan:
    """Keep the channels with the largest scores; groups of a block go with it.

    A group that gets wider, twice as wide at most, has those copied.
    """
    kept: dict[str, tuple[int, ...]] = {}
    copies: dict[str, tuple[int, ...]] = {}
    for name, width in solution.widths.items():
        group = graph.group(name)
        if width < group.size:
            kept[name] = group.best(scores[name], width)
        elif width > group.size:
            copies[name] = group.best(scores[name], width - group.size)
    return Plan(kept, solution.bypassed, copies)


def aimed(budget: Budget, times: float) -> Budget:
    """A budget with its limit in ms changed, if it has one."""
    if budget.latency_ms is None:
        return budget
    return replace(budget, latency_ms=budget.latency_ms * times)


def _best(found: list[tuple[Plan, Attempt]], budget: Budget) -> tuple[Plan, Attempt]:
    """Of those that fit the most accurate one; the nearest where none fits.

    Where accuracy is not known it is the one that uses the budget best.
    """

    def rank(pair: tuple[Plan, Attempt]) -> tuple[float, float]:
        return pair[1].accuracy or 0.0, pressure_of(pair[1], budget)

    fitting = [pair for pair in found if pair[1].within_budget]
    if fitting:
        return max(fitting, key=rank)
    return min(found, key=lambda pair: pressure_of(pair[1], budget))
