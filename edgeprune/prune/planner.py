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
from edgeprune.progress import SILENT, Progress
from edgeprune.prune.cost_model import CostModel, Prediction
from edgeprune.prune.exchange import JUDGED, Counted, exchange, steps_from
from edgeprune.prune.loss import Loss
from edgeprune.prune.solver import Solution, fastest, least_loss, params_left
from edgeprune.records import Attempt, Budget, Plan, pressure_of
from edgeprune.units import milliseconds

AIM = (0.97, 0.98, 0.98)  # of a limit in ms, by round: room for noise, and for error
CLOSE = 0.94  # of a limit: near enough not to search on
ROUNDS = len(AIM)
HALVED = 8  # times at most, the range of the number of parameters that are left
SETTLED = 0.01  # of the weights come from memory or not: of no more importance
CORRECTED = 2  # solutions at most that take longer than predicted
PATIENCE_S = 300.0  # for judging plans after reconstruction
REFITTED_NOISE = 0.01  # of the error after it, which is fitted on few samples
MOMENT_S = 1e-3
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
        refitted: the same after reconstruction, where there is to be one.
        progress: is in a step of its own when it is searched for.
    """

    graph: ChannelGraph
    scores: Mapping[str, Tensor]
    model: CostModel
    loss: Loss
    budget: Budget
    error: Callable[[Plan], float] | None = None
    refitted: Callable[[Plan], float] | None = None
    progress: Progress = SILENT

    def of(self, error: Callable[[Plan], float]) -> Callable[[Solution], float]:
        """The error of a solution's network."""
        return lambda solution: error(plan_of(self.graph, self.scores, solution))


def search(problem: Problem, measure: Measure) -> Search:
    """Solve, measure and correct until the measured network fits the budget closely.

    Args:
        measure: applies a plan, exports it and measures the file.
    """
    loop = _Loop(problem, measure)
    loop.solve()
    loop.refine()
    plan, attempt = loop.best.plan, loop.best.attempt
    return Search(
        plan, attempt, attempt.within_budget, tuple(dict.fromkeys(loop.notes))
    )


@dataclass(frozen=True)
class _Tried:
    """A solution whose network was measured."""

    solution: Solution
    plan: Plan
    attempt: Attempt


class _Loop:
    """What was tried so far, and by how much predictions were off."""

    def __init__(self, problem: Problem, measure: Measure) -> None:
        self.problem, self.measure = problem, measure
        self.tried: list[_Tried] = []
        self.notes: list[str] = []
        self.correction = 1.0

    def solve(self) -> None:
        """Solutions of the least loss, made better by exchanges."""
        problem = self.problem
        for aim in AIM:
            limits = self._limits(aim)
            settled = solution = settle(problem.model, problem.loss, limits)
            self.notes += [solution.note] if solution.note else []
            if solution.feasible and problem.error is not None:
                count = _most(len(steps_from(problem.model, solution)))
                error = Counted(problem.of(problem.error), count)
                solution = exchange(problem.model, solution, limits, error)
            tried = self._try(solution)
            if tried is None:
                break
            if self._close(tried):
                if tried.attempt.accuracy is not None:
                    self._try(settled)
                break

    def refine(self) -> None:
        """The best one made better by exchanges that are judged after reconstruction.

        What least squares mend of one change and not of another is not seen before.
        """
        problem, start = self.problem, self.best
        if not start.attempt.within_budget or problem.refitted is None:
            return
        refitted, progress = problem.of(problem.refitted), problem.progress
        each = min(_seconds(refitted, start.solution) for _ in range(2))
        steps = len(steps_from(problem.model, start.solution))
        count = min(_most(steps), int(PATIENCE_S / max(each, MOMENT_S)))
        if count < steps:
            self.notes.append(
                "the plan was not judged after reconstruction, as smaller networks "
                f"are: {steps} exchanges would take {steps * each / 60:.0f} minutes"
            )
            return

        def judged(solution: Solution) -> float:
            progress.advance()
            return refitted(solution)

        progress.finish(milliseconds(start.attempt.latency_ms))
        progress.start("judge plans after reconstruction", count)
        error = Counted(judged, count, REFITTED_NOISE)
        self._correct(start)
        for _ in range(ROUNDS):
            limits = self._limits(AIM[-1])
            solution = exchange(problem.model, self.best.solution, limits, error)
            tried = self._try(solution)
            if tried is None or self._close(tried):
                break

    @property
    def best(self) -> _Tried:
        """Of those that fit the most accurate one; the nearest where none fits.

        Where accuracy is not known it is the one that uses the budget best.
        """

        def pressure(tried: _Tried) -> float:
            return pressure_of(tried.attempt, self.problem.budget)

        fitting = [tried for tried in self.tried if tried.attempt.within_budget]
        if not fitting:
            return min(self.tried, key=pressure)
        return max(
            fitting, key=lambda tried: (tried.attempt.accuracy or 0.0, pressure(tried))
        )

    def _limits(self, aim: float) -> Budget:
        return aimed(self.problem.budget, aim / self.correction)

    def _close(self, tried: _Tried) -> bool:
        """Whether it fits, and leaves next to nothing of the budget."""
        within = tried.attempt.within_budget
        return within and pressure_of(tried.attempt, self.problem.budget) >= CLOSE

    def _try(self, solution: Solution) -> _Tried | None:
        """Measure a solution's network, and learn from it; None if it is known."""
        problem = self.problem
        plan = plan_of(problem.graph, problem.scores, solution)
        if any(plan == earlier.plan for earlier in self.tried):
            return None
        found = problem.model.predict(solution.widths, solution.bypassed)
        expected = replace(found, latency_ms=found.latency_ms * self.correction)
        attempt = self.measure(plan, len(self.tried) + 1, solution, expected)
        self.tried.append(_Tried(solution, plan, attempt))
        self._correct(self.tried[-1])
        return self.tried[-1]

    def _correct(self, tried: _Tried) -> None:
        """Predict from now on as is right for one network, and those like it."""
        solution = tried.solution
        found = self.problem.model.predict(solution.widths, solution.bypassed)
        self.correction = tried.attempt.latency_ms / found.latency_ms


def _most(steps: int) -> int:
    """Networks that are judged by exchanges from one that has so many steps."""
    return max(JUDGED, 2 * steps)


def _seconds(error: Callable[[Solution], float], solution: Solution) -> float:
    """That judging a network takes."""
    began = time.perf_counter()
    error(solution)
    return time.perf_counter() - began


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
