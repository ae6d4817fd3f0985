"""How the planner's plans are judged and measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from torch import nn

from edgeprune.errors import TraceError
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.reconstruction import QuickReconstruction
from edgeprune.pipeline.search.base import FoundPlan
from edgeprune.pipeline.search.space import SearchSpace
from edgeprune.prune.problem import SearchResult, Trial
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import Attempt, Budget, Plan
from edgeprune.score.sensitivity import OutputErrorEvaluator


@dataclass(frozen=True)
class OutputErrors:
    """Judges plans by the outputs of their networks, as surgery leaves them."""

    space: SearchSpace
    evaluator: OutputErrorEvaluator

    @property
    def affordable(self) -> int:
        """How many plans it can judge in reasonable time."""
        return self.evaluator.affordable

    def error(self, plan: Plan, near: Plan | None = None) -> float:  # noqa: ARG002  see Reruns
        """How far the outputs are from the original's."""
        return self.evaluator.error(self.space.judged(plan))

    def estimates(
        self,
        plans: Iterable[Plan],
        near: Plan,  # noqa: ARG002
    ) -> Iterator[float]:
        """The errors: they are soon known."""
        return self.evaluator.errors(map(self.space.judged, plans))

    def possible(self, plan: Plan) -> bool:
        """Whether its network can be made."""
        return self.space.candidate(plan).possible


@dataclass(frozen=True)
class ReconstructedErrors:
    """Judges plans by the outputs of their networks after a quick reconstruction."""

    space: SearchSpace
    reconstruction: QuickReconstruction

    @property
    def affordable(self) -> int:
        """How many plans it can judge in reasonable time."""
        return self.reconstruction.affordable

    def error(self, plan: Plan, near: Plan | None = None) -> float:
        """How far the outputs are from the original's."""
        return self.reconstruction.error(self.space.candidate(plan), near)

    def estimates(self, plans: Iterable[Plan], near: Plan) -> Iterator[float]:
        """The same with only the layers fitted anew that are soon after a change."""
        return self.reconstruction.estimates(map(self.space.candidate, plans), near)

    def possible(self, plan: Plan) -> bool:
        """Whether its network can be made."""
        return self.space.candidate(plan).possible


@dataclass(frozen=True)
class CandidateBenchmark:
    """Measures plans, and says how accurate their networks are without training.

    Attributes:
        reconstruction: by which a network's accuracy is known; by default batch norms'
            statistics are estimated anew.
    """

    context: RunContext
    space: SearchSpace
    limits: Budget
    reconstruction: QuickReconstruction | None = None
    _measured: list[tuple[Plan, Candidate]] = field(default_factory=list)

    def measure(self, trial: Trial) -> Attempt:
        """Export a plan's network, measure the file, and judge the network if it fits.

        Raises:
            PlanError: the plan does not fit.
        """
        evaluator = self.context.evaluator
        candidate = self.space.candidate(trial.plan)
        self._measured.append((trial.plan, candidate))
        attempt = replace(
            evaluator.attempt(candidate, self.limits, brief=True),
            round=trial.number,
            predicted_ms=trial.predicted.latency_ms,
            gap=trial.solution.gap,
        )
        if attempt.within_budget:
            accuracy = evaluator.accuracy(self._mended(candidate))
            attempt = replace(attempt, accuracy=accuracy)
        return self.context.keep(attempt)

    def found(self, result: SearchResult) -> FoundPlan:
        """The candidate that a search has found best; the others are let go."""
        candidate = next(
            candidate for plan, candidate in self._measured if plan == result.plan
        )
        self._measured.clear()
        return FoundPlan(candidate, result.attempt, result.fits)

    def _mended(self, candidate: Candidate) -> nn.Module:
        if self.reconstruction is not None:
            return self.reconstruction.model(candidate)
        context = self.context
        return restated(candidate.network, context.data.calibration, context.job.device)


def quick_reconstruction(
    context: RunContext, start: ModelSnapshot
) -> QuickReconstruction | None:
    """How plans are judged that are to be reconstructed; None if none is.

    None, too, where layers are so wide that few positions say little of them.
    """
    settings = context.settings
    if not settings.reconstruct or settings.from_scratch:
        return None
    data, device = context.data, context.job.device
    try:
        found = QuickReconstruction(
            start.model, data.calibration, settings.seed, device, data.task
        )
    except TraceError:  # as reconstruction will say
        return None
    return found if found.determined else None
