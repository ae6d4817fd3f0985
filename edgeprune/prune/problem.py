"""What the planner solves, and what it asks of those who judge and measure plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from edgeprune.graph.groups import ChannelGraph
from edgeprune.progress import SILENT, Progress
from edgeprune.prune.cost_model import CostModel, Prediction
from edgeprune.prune.loss import Loss
from edgeprune.prune.solver import Solution
from edgeprune.records import Attempt, Budget, Plan


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
