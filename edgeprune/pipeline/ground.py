"""What every search stands on, and what it ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import nn

from edgeprune.finetune.loop import evaluate
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.measure.bench import Bench
from edgeprune.pipeline.job import Job, Journal, State
from edgeprune.pipeline.trials import Trials
from edgeprune.profile.network import Profile
from edgeprune.prune import planner
from edgeprune.prune.cost_model import Prediction
from edgeprune.prune.solver import Solution
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import (
    Attempt,
    Budget,
    Plan,
    Surgery,
)
from edgeprune.score.context import Context
from edgeprune.units import milliseconds


@dataclass
class Ground:
    """What a search stands on.

    Attributes:
        bench: writes and times the files that count.
        start: the unpruned network as its file that counts.
        budget: what was asked for.
        limits: the same; the baseline's time where it says nothing of time.
    """

    job: Job
    bench: Bench
    journal: Journal
    trials: Trials
    profile: Profile
    baseline: State
    start: State
    budget: Budget
    limits: Budget

    def context(self, model: nn.Module, graph: ChannelGraph) -> Context:
        """What criteria may look at."""
        return Context(
            model,
            graph,
            self.job.workload.data.calibration,
            seed=self.job.seed,
            progress=self.job.progress,
        )

    def measure(self, candidate: Candidate, limits: Budget) -> Attempt:
        """A candidate, applied, exported and measured beside the baseline."""
        model, graph = candidate.model, candidate.graph
        return self.trials.attempt(model, graph, candidate.plan, limits)

    def measuring(
        self,
        candidate: Callable[[Plan], Candidate],
        limits: Budget,
        known: Callable[[Candidate], nn.Module] | None = None,
    ) -> planner.Measure:
        """How the planner's plans are measured and kept.

        Args:
            known: the network whose accuracy a candidate is known by; by default with
                batch norms' statistics estimated anew.
        """
        data = self.job.workload.data

        def by_statistics(found: Candidate) -> nn.Module:
            return restated(found.applied()[0], data.calibration)

        known = known or by_statistics

        def measure(
            plan: Plan, number: int, solution: Solution, predicted: Prediction
        ) -> Attempt:
            attempt = replace(
                self.measure(candidate(plan), limits),
                round=number,
                predicted_ms=predicted.latency_ms,
                gap=solution.gap,
            )
            if attempt.within_budget:
                accuracy = evaluate(known(candidate(plan)), data.validation)
                attempt = replace(attempt, accuracy=accuracy)
            return self.keep(attempt)

        return measure

    def keep(self, attempt: Attempt) -> Attempt:
        """A measured plan, for the report and to be shown."""
        self.journal.attempts.append(attempt)
        self.job.progress.advance(milliseconds(attempt.latency_ms))
        return attempt


@dataclass(frozen=True)
class Candidate:
    """A plan, and the network that it is applied to.

    Attributes:
        surgery: from the round's start to that network.
    """

    model: nn.Module
    graph: ChannelGraph
    plan: Plan
    surgery: Surgery = field(default_factory=Surgery)

    def applied(self) -> tuple[nn.Module, Surgery]:
        """The smaller network, and what was changed from the round's start on.

        Raises:
            PlanError: the plan does not fit.
        """
        changed = apply(self.model, self.graph, self.plan)
        planned = plan_surgery(self.model, self.graph, self.plan)
        return changed, self.surgery.then(planned)


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
        fits: whether it is within all limits.
    """

    candidate: Candidate
    attempt: Attempt
    fits: bool


class Search(Protocol):
    """How a round finds its plan."""

    def refusal(self) -> str | None:
        """Why the limits are out of reach, before anything is scored or trained."""
        ...

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> Found:
        """The plan for a network on its way."""
        ...


def outcome(attempt: Attempt) -> str:
    """What came of a search, for a line of progress."""
    found = milliseconds(attempt.latency_ms)
    return f"{found} with {attempt.kept_share:.0%} of the channels"
