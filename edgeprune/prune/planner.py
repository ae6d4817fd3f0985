"""Budget to plan: solve, export, measure, correct, until it fits closely.

The solver chooses by prediction. What it chose is applied, exported and measured
beside the baseline, and the limit corrected by what was found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from edgeprune.graph.groups import ChannelGraph
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.exchange import (
    BudgetedObjective,
    exchange,
    most_judged,
    moves_from,
)
from edgeprune.prune.problem import (
    PlanBenchmark,
    Problem,
    SearchResult,
    SolutionErrors,
    Trial,
    plan_of,
)
from edgeprune.prune.solver import Solution, fastest, solve_fixed_point
from edgeprune.records import (
    COUNTED,
    Attempt,
    Budget,
    Plan,
    pressure_of,
    time_pressure,
)
from edgeprune.units import milliseconds

AIM = (0.97, 0.98, 0.98)  # of a limit on time, by round: room for noise and for error
CLOSE = 0.94  # of a limit: near enough not to search on
SURE = 0.995  # of a limit: what takes no more will do so when measured again
RIGHT = 0.035  # of the time: what is aimed at and predicted so well hits the limit
BETWEEN = 2  # rounds between a plan that leaves much of a limit and one beyond it
LEAST = 0.01  # of a limit on what is counted: nobody aims below it
ROUNDS = len(AIM) + BETWEEN
RECONSTRUCTED_NOISE = 0.01  # of the error after it, which is fitted on few samples


def search(problem: Problem, benchmark: PlanBenchmark) -> SearchResult:
    """Solve, measure and correct until the measured network fits the budget closely."""
    loop = _Loop(problem, benchmark)
    loop.solve()
    loop.settle()
    loop.refine()
    best = loop.best
    notes = tuple(dict.fromkeys(loop.notes))
    return SearchResult(
        best.trial.plan, best.attempt, best.attempt.within_budget, notes
    )


@dataclass(frozen=True)
class _Tried:
    """A trial, and what was measured."""

    trial: Trial
    attempt: Attempt


class _Loop:
    """The loop's state: plans tried so far, and the errors of predictions."""

    def __init__(self, problem: Problem, benchmark: PlanBenchmark) -> None:
        self.problem, self.benchmark = problem, benchmark
        self.tried: list[_Tried] = []
        self.notes: list[str] = []
        self.correction = 1.0
        self.shrinking: dict[str, float] = {}

    def solve(self) -> None:
        """Measure solutions of the least loss, made better by exchanges."""
        problem = self.problem
        for aim in AIM:
            limits = self._limits(aim)
            first, solution = self._solved(limits)
            self.notes += [first.note] if first.note else []
            tried = self._try(solution)
            if tried is None:
                break
            if self._close(tried):
                accuracy = tried.attempt.accuracy
                if accuracy is not None and accuracy < problem.enough:
                    self._try(first)
                break

    def settle(self) -> None:
        """Aim between a plan that leaves much of the limit and one that is beyond it.

        Where predictions are off by more for one network than for another, as on a
        machine that was busy while its table was measured, no one correction is right.
        """
        budget = self.problem.budget
        for _ in range(BETWEEN if budget.limits_time else 0):
            points = [self._point(tried) for tried in self.tried]
            below = [point for point in points if point[0] <= 1]
            above = [point for point in points if point[0] > 1]
            if not (below and above) or self._close(self.best):
                return
            aim = between(max(below), min(above), AIM[-1])
            _, solution = self._solved(budget.with_time_scaled(aim))
            if self._try(solution) is None:
                return

    def _point(self, tried: _Tried) -> tuple[float, float]:
        """The share of the limit on time that was measured, and the one predicted."""
        budget, solution = self.problem.budget, tried.trial.solution
        found = self.problem.model.predict(solution.widths, solution.bypassed)
        return time_pressure(tried.attempt, budget), time_pressure(found, budget)

    def refine(self) -> None:
        """Improve the best one by exchanges that are judged after reconstruction.

        What least squares mend of one change and not of another is not seen before.
        """
        problem, start = self.problem, self.best
        errors, progress = problem.reconstructed_errors, problem.progress
        solution = start.trial.solution
        if not start.attempt.within_budget or not self._refines(solution):
            return
        assert errors is not None  # as it refines
        count = min(most_judged(problem.model, solution), errors.affordable)
        progress.finish(milliseconds(start.attempt.latency_ms))
        progress.start("judge plans after reconstruction", count)
        judged = SolutionErrors(problem, errors, progress)
        objective = BudgetedObjective(judged, count, RECONSTRUCTED_NOISE)
        self._correct(start)
        for _ in AIM:
            limits, solution = self._limits(AIM[-1]), self.best.trial.solution
            tried = self._try(exchange(problem.model, solution, limits, objective))
            if tried is None or self._close(tried):
                break

    def _refines(self, solution: Solution) -> bool:
        """Whether exchanges can be judged after reconstruction, which sees more."""
        errors = self.problem.reconstructed_errors
        if errors is None:
            return False
        moves = len(moves_from(self.problem.model, solution))
        if errors.affordable >= moves:
            return True
        self.notes.append(
            "the plan was not judged after reconstruction, as smaller networks are: "
            f"{moves} exchanges would take too long"
        )
        return False

    def _solved(self, limits: Budget) -> tuple[Solution, Solution]:
        """The solution of the least loss, and what exchanges make of it."""
        problem = self.problem
        first = solve_fixed_point(problem.model, problem.loss, limits)
        if not first.feasible or self._refines(first):
            return first, first
        return first, self._exchanged(first, limits)

    def _exchanged(self, solution: Solution, limits: Budget) -> Solution:
        """A solution made better by exchanges, judged as surgery leaves them."""
        problem = self.problem
        if problem.errors is None:
            return solution
        judged = SolutionErrors(problem, problem.errors)
        most = most_judged(problem.model, solution)
        objective = BudgetedObjective(judged, min(most, problem.errors.affordable))
        return exchange(problem.model, solution, limits, objective)

    @property
    def best(self) -> _Tried:
        """The most accurate one of those that fit; the nearest where none fits.

        One that the next measurement may find to be too slow only where none is faster.
        Where accuracy is not known it is the one that uses the budget best.
        """

        def pressure(tried: _Tried) -> float:
            return pressure_of(tried.attempt, self.problem.budget)

        fitting = [tried for tried in self.tried if tried.attempt.within_budget]
        if not fitting:
            return min(self.tried, key=pressure)
        sure = [tried for tried in fitting if pressure(tried) <= SURE]
        return max(
            sure or fitting,
            key=lambda tried: (tried.attempt.accuracy or 0.0, pressure(tried)),
        )

    def _limits(self, aim: float) -> Budget:
        limits = self.problem.budget.with_time_scaled(aim / self.correction)
        return limits.with_counts_scaled(self.shrinking)

    def _close(self, tried: _Tried) -> bool:
        """Whether it fits, and leaves next to nothing of the budget."""
        within = tried.attempt.within_budget
        return within and pressure_of(tried.attempt, self.problem.budget) >= CLOSE

    def _try(self, solution: Solution) -> _Tried | None:
        """Measure a solution's network, and learn from it; None if it is known."""
        problem = self.problem
        plan = problem.plan_of(solution)
        if any(plan == earlier.trial.plan for earlier in self.tried):
            return None
        found = problem.model.predict(solution.widths, solution.bypassed)
        expected = replace(
            found,
            latency_ms=found.latency_ms * self.correction,
            latency_ratio=found.latency_ratio * self.correction,
        )
        trial = Trial(len(self.tried) + 1, plan, solution, expected)
        self.tried.append(_Tried(trial, self.benchmark.measure(trial)))
        self._correct(self.tried[-1])
        self._tighten()
        return self.tried[-1]

    def _tighten(self) -> None:
        """Aim below a limit on what is counted, where the last plan was beyond it.

        Predictions count a network's layers; what data do to each other, as where
        images are compared, they do not see.
        """
        budget, model = self.problem.budget, self.problem.model
        for name in COUNTED:
            limit, points = getattr(budget, name), [(0.0, 0.0)]
            for tried in self.tried if limit else ():
                solution = tried.trial.solution
                found = model.predict(solution.widths, solution.bypassed)
                both = getattr(tried.attempt, name), getattr(found, name)
                points.append((both[0] / limit, both[1] / limit))
            if points[-1][0] > 1:
                low, high = sorted(sorted(points, key=_from_limit)[:2])
                self.shrinking[name] = max(LEAST, between(low, high, SURE))

    def _correct(self, tried: _Tried) -> None:
        """Predict from now on as is right for one network, and those like it.

        In the unit of the limit: what counts is by how much that was missed. A noisy
        table may predict no time at all for a small network, which nothing can scale.
        Where a plan hits the limit, and about as predicted, predictions stay: the
        measurement is no better, and what is chosen next depends on it.
        """
        if self.problem.budget.limits_time:
            measured, predicted = self._point(tried)
        else:
            solution = tried.trial.solution
            found = self.problem.model.predict(solution.widths, solution.bypassed)
            predicted, measured = found.latency_ms, tried.attempt.latency_ms
        if predicted > 0:
            correction = measured / predicted
            right = abs(correction / self.correction - 1) <= RIGHT
            if not (right and self._close(tried)):
                self.correction = correction


def _from_limit(point: tuple[float, float]) -> float:
    """How far a measurement is from the limit, as a share of it."""
    return abs(point[0] - 1)


def between(low: tuple[float, float], high: tuple[float, float], aim: float) -> float:
    """The prediction at which a measurement is expected to hit what is aimed at.

    Args:
        low, high: measurements and predictions of two plans, as shares of the limit.
    """
    (least, first), (most, last) = low, high
    if most <= least or last <= first:
        return (first + last) / 2
    return first + (aim - least) / (most - least) * (last - first)


def smallest(graph: ChannelGraph, model: CostModel, budget: Budget) -> Plan:
    """The fastest network within the other limits, by prediction."""
    solution = fastest(model, budget=budget.without_time(), params=0.0)
    scores = {group.name: torch.zeros(group.size) for group in graph.groups}
    return plan_of(graph, scores, solution)
