"""The plan of least loss, by latency table and mixed-integer program."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from edgeprune.pipeline.checkpoint import RunCheckpoint
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.search.base import FoundPlan, outcome_text
from edgeprune.pipeline.search.evaluation import (
    CandidateBenchmark,
    OutputErrors,
    ReconstructedErrors,
    quick_reconstruction,
)
from edgeprune.pipeline.search.smallest import SmallestNetwork
from edgeprune.pipeline.search.space import PlainSpaces, SearchSpace, Spaces
from edgeprune.prune import planner, solver
from edgeprune.prune.exchange import JUDGED
from edgeprune.prune.loss import Loss, losses_of
from edgeprune.prune.problem import Problem
from edgeprune.records import Budget, Scores, Sensitivity
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores
from edgeprune.score.sensitivity import (
    SHARES,
    OutputErrorEvaluator,
    measure_sensitivity,
)
from edgeprune.score.two_step import parse_criteria, rescore

QUICK_SHARES = (0.5,)  # of a group, at which its loss is measured for a quick answer


class MilpSearch:
    """Finds the least loss within the limits.

    Args:
        plain: the spaces of pruning alone, with the unpruned network's latency table.
        spaces: those that plans are chosen from.
    """

    def __init__(
        self, context: RunContext, plain: PlainSpaces, spaces: Spaces | None = None
    ) -> None:
        self._context, self._plain, self._spaces = context, plain, spaces or plain

    def refusal(self) -> str | None:
        """Say why the limits are out of reach, before anything is scored or trained.

        The smallest network is exported and measured; one that more than pruning would
        make smaller still is only predicted.
        """
        context = self._context
        with context.log.stage("profile"):
            refusal = self._smallest().refusal(context.progress)
        if refusal is None or self._spaces.reaches_limits():
            return None
        return refusal

    def fastest(self) -> Budget:
        """The time of the smallest network, as a limit that can just be kept."""
        with self._context.log.stage("profile"):
            _, attempt = self._smallest().measure()
        assert attempt.latency_ratio is not None  # it was measured now
        return Budget(latency_ratio=attempt.latency_ratio / planner.CLOSE)

    def _smallest(self) -> SmallestNetwork:
        context, graph = self._context, self._context.profile.graph
        costs = self._plain.costs(context.start, graph)
        return SmallestNetwork(context.evaluator, graph, costs, context.limits)

    def find(self, start: ModelSnapshot, limits: Budget) -> FoundPlan:
        """Judge the channels, then search for the plan that fits."""
        context, log = self._context, self._context.log
        space = self._spaces.space(start)
        scoring = context.scoring(space.model, space.graph)
        with log.stage("score"):
            name = f"scores {log.round_number}"
            scores, sensitivity = RunCheckpoint(context.job.state).found(
                name,
                space.model,
                tuple[Scores, Sensitivity],
                lambda: self._scored(scoring, space, limits),
            )
        log.scores = log.scores or scores
        log.sensitivity = log.sensitivity or sensitivity
        ranked = comparable_scores(scores, space.graph)
        context.progress.start("prune", planner.ROUNDS)
        with log.stage("prune"):
            judges = context.settings.effort != "quick"
            judge = OutputErrorEvaluator(scoring, JUDGED) if judges else None
            quick = quick_reconstruction(context, start) if judges else None
            problem = Problem(
                space.graph,
                ranked,
                space.costs,
                _loss(space, ranked, sensitivity),
                limits,
                judge and OutputErrors(space, judge),
                quick and ReconstructedErrors(space, quick),
                context.baseline.accuracy,
                context.progress,
            )
            benchmark = CandidateBenchmark(context, space, limits, quick)
            result = planner.search(problem, benchmark)
        log.note(*result.notes)
        context.progress.finish(outcome_text(result.attempt))
        return benchmark.found(result)

    def _scored(
        self, scoring: Context, space: SearchSpace, limits: Budget
    ) -> tuple[Scores, Sensitivity]:
        """The channels' scores, and what groups and blocks are worth.

        A second criterion looks at those near the cut that a first solution makes.
        """
        _, second = parse_criteria(self._context.settings.criterion)
        scores = space.scores
        names = [block.name for block in space.costs.blocks]
        blocks = [name for name in names if name not in space.costs.choices]
        quick = self._context.settings.effort == "quick"
        shares = QUICK_SHARES if quick else SHARES
        sensitivity = measure_sensitivity(scoring, scores, blocks, shares)
        if second is not None:
            ranked = comparable_scores(scores, scoring.graph)
            loss = _loss(space, ranked, sensitivity)
            solution = solver.solve_fixed_point(space.costs, loss, limits)
            scores = rescore(second, scoring, scores, solution.widths)
        return scores, sensitivity


def _loss(
    space: SearchSpace, ranked: Mapping[str, Tensor], sensitivity: Sensitivity
) -> Loss:
    """Losses as measured; nothing is lost by what is only computed in another way."""
    losses = losses_of(ranked, sensitivity)
    free = dict.fromkeys(space.costs.choices, 0.0)
    return Loss(losses.widths, {**losses.blocks, **free})
