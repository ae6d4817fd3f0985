"""Budget to plan: solve, export, measure, correct, until it fits closely.

The solver chooses by prediction. What it chose is applied, exported and measured
beside the baseline, and the limit corrected by what was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from edgeprune.graph.groups import ChannelGraph
from edgeprune.progress import SILENT, Progress
from edgeprune.prune.cost_model import CostModel, Prediction
from edgeprune.prune.exchange import (
    BudgetedObjective,
    exchange,
    most_judged,
    moves_from,
)
from edgeprune.prune.loss import Loss
from edgeprune.prune.solver import Solution, fastest, solve_fixed_point
from edgeprune.records import Attempt, Budget, Plan, pressure_of, time_pressure
from edgeprune.units import milliseconds

AIM = (0.97, 0.98, 0.98)  # of a limit on time, by round: room for noise and for error
CLOSE = 0.94  # of a limit: near enough not to search on
SURE = 0.995  # of a limit: what takes no more will do so when measured again
RIGHT = 0.035  # of the time: what is aimed at and predicted so well hits the limit
ROUNDS = len(AIM)
RECONSTRUCTED_NOISE = 0.01  # of the error after it, which is fitted on few samples


class ErrorEvaluator(Protocol):
    """Judges plans before anything is trained.

    Attributes:
        affordable: how many it can judge in reasonable time: by what that computes, not
            by the clock, so that a busy machine finds the same plan.
    """

    @property
    def affordable(self) -> int: ...  # noqa: D102  see above

    def error(self, plan: Plan, near: Plan | None = None) -> float:
        """How far the outputs of a plan's network are from the original's.

        Args:
            near: one much like it, which was judged before.
        """
        ...

    def estimates(self, plans: Iterable[Plan], near: Plan) -> Iterator[float]:
        """Much the same of several sooner, by how they differ from another plan."""
        ...

    def possible(self, plan: Plan) -> bool:
        """Whether its network can be made, and is what it is to be."""
        ...


@dataclass(frozen=True)
class Trial:
    """A plan that is to be measured, and why.

    Attributes:
        number: of the trial in its search, from 1 on.
        predicted: what it is expected to cost.
    """

    number: int
    plan: Plan
    solution: Solution
    predicted: Prediction


class PlanBenchmark(Protocol):
    """Applies plans, exports their networks and measures the files."""

    def measure(self, trial: Trial) -> Attempt:
        """Measure the costs of a plan's network, and its accuracy where it fits."""
        ...


@dataclass(frozen=True)
class SearchResult:
    """The result of the closed loop.

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
    """The problem that a planner solves.

    Attributes:
        scores: by group, shape (channels,): which channels of it stay.
        errors: judges what losses only estimate. None where nothing is known before
            training, as of a wider network.
        reconstructed_errors: the same after reconstruction, where there is to be one.
        enough: accuracy of a measured plan that leaves nothing to be seen: as good as
            the original.
        progress: has the step of the search as its own.
    """

    graph: ChannelGraph
    scores: Mapping[str, Tensor]
    model: CostModel
    loss: Loss
    budget: Budget
    errors: ErrorEvaluator | None = None
    reconstructed_errors: ErrorEvaluator | None = None
    enough: float = 1.0
    progress: Progress = SILENT

    def plan_of(self, solution: Solution) -> Plan:
        """The plan that keeps as many channels as a solution says."""
        return plan_of(self.graph, self.scores, solution)


@dataclass(frozen=True)
class SolutionErrors:
    """Judges the plans of solutions."""

    problem: Problem
    errors: ErrorEvaluator
    progress: Progress = SILENT

    def error(self, solution: Solution, near: Solution | None = None) -> float:
        """The error of a solution's network."""
        self.progress.advance()
        other = near and self.problem.plan_of(near)
        return self.errors.error(self.problem.plan_of(solution), other)

    def estimates(
        self, solutions: Iterable[Solution], near: Solution
    ) -> Iterator[float]:
        """Much the same of several sooner."""
        plan_of = self.problem.plan_of
        for error in self.errors.estimates(map(plan_of, solutions), plan_of(near)):
            self.progress.advance()
            yield error

    def possible(self, solution: Solution) -> bool:
        """Whether its network can be made."""
        return self.errors.possible(self.problem.plan_of(solution))


def search(problem: Problem, benchmark: PlanBenchmark) -> SearchResult:
    """Solve, measure and correct until the measured network fits the budget closely."""
    loop = _Loop(problem, benchmark)
    loop.solve()
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

    def solve(self) -> None:
        """Measure solutions of the least loss, made better by exchanges."""
        problem = self.problem
        for aim in AIM:
            limits = self._limits(aim)
            first = solution = solve_fixed_point(problem.model, problem.loss, limits)
            self.notes += [solution.note] if solution.note else []
            if solution.feasible and not self._refines(solution):
                solution = self._exchanged(solution, limits)
            tried = self._try(solution)
            if tried is None:
                break
            if self._close(tried):
                accuracy = tried.attempt.accuracy
                if accuracy is not None and accuracy < problem.enough:
                    self._try(first)
                break

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
        for _ in range(ROUNDS):
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
        return self.problem.budget.with_time_scaled(aim / self.correction)

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
        return self.tried[-1]

    def _correct(self, tried: _Tried) -> None:
        """Predict from now on as is right for one network, and those like it.

        In the unit of the limit: what counts is by how much that was missed. A noisy
        table may predict no time at all for a small network, which nothing can scale.
        Where a plan hits the limit, and about as predicted, predictions stay: the
        measurement is no better, and what is chosen next depends on it.
        """
        solution, budget = tried.trial.solution, self.problem.budget
        found = self.problem.model.predict(solution.widths, solution.bypassed)
        if budget.limits_time:
            predicted = time_pressure(found, budget)
            measured = time_pressure(tried.attempt, budget)
        else:
            predicted, measured = found.latency_ms, tried.attempt.latency_ms
        if predicted > 0:
            correction = measured / predicted
            right = abs(correction / self.correction - 1) <= RIGHT
            if not (right and self._close(tried)):
                self.correction = correction


def smallest(graph: ChannelGraph, model: CostModel, budget: Budget) -> Plan:
    """The fastest network within the other limits, by prediction."""
    solution = fastest(model, budget=budget.without_time(), params=0.0)
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
