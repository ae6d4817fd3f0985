"""How a round finds its plan: the least loss, by latency table and solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from edgeprune.errors import TraceError
from edgeprune.graph.groups import ChannelGraph
from edgeprune.measure.bench import parameter_shapes
from edgeprune.pipeline.ground import Candidate, Found, Ground, outcome
from edgeprune.pipeline.job import State
from edgeprune.pipeline.refitting import Refitting
from edgeprune.pipeline.smallest import Smallest
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.exchange import JUDGED
from edgeprune.prune.loss import Loss, losses_of
from edgeprune.records import (
    Budget,
    LatencySummary,
    LatencyTable,
    Plan,
    Scores,
    Sensitivity,
)
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.sensitivity import Judge, measure_sensitivity
from edgeprune.score.two_step import parse_criteria, rescore


@dataclass(frozen=True)
class Space:
    """What a solver may choose from.

    Attributes:
        model: whose channels are judged; it computes what the round's start does.
        scores: of its channels, by the first criterion.
        candidate: what a plan for its graph comes to.
        judged: the same plan, with what changes no output left out.
    """

    model: nn.Module
    graph: ChannelGraph
    costs: CostModel
    scores: Scores
    candidate: Callable[[Plan], Candidate]
    judged: Callable[[Plan], Plan] = lambda plan: plan


class BySolver:
    """Least loss within the limits, by the latency table and the solver."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._table: LatencyTable | None = None

    def refusal(self) -> str | None:
        """Export and measure the smallest network."""
        with self.ground.journal.stage("profile"):
            return self._smallest().refusal(self.ground.job.progress)

    def fastest(self) -> Budget:
        """The time of the smallest network, as a limit that can just be kept."""
        with self.ground.journal.stage("profile"):
            _, found = self._smallest().measure()
        return Budget(latency_ms=found.latency_ms / planner.CLOSE)

    def _smallest(self) -> Smallest:
        ground = self.ground
        graph = ground.profile.graph
        model = self._cost_model(ground.start, graph)
        return Smallest(ground.trials, graph, model, ground.limits)

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> Found:
        """Judge the channels, then search for the plan that fits."""
        ground = self.ground
        journal, progress = ground.journal, ground.job.progress
        space = self.space(start, graph)
        context = ground.context(space.model, space.graph)
        with journal.stage("score"):
            scores, sensitivity = self._judged(context, space, limits)
        journal.scores = journal.scores or scores
        journal.sensitivity = journal.sensitivity or sensitivity
        ranked = comparable_scores(scores, space.graph)
        loss = _loss(space, ranked, sensitivity)
        progress.start("prune", planner.ROUNDS)
        with journal.stage("prune"):
            judge, refitting = Judge(context, JUDGED), self._refitting(start)
            problem = planner.Problem(
                space.graph,
                ranked,
                space.costs,
                loss,
                limits,
                lambda plan: judge.error(space.judged(plan)),
                refitting and (lambda plan: refitting.error(space.candidate(plan))),
                progress,
            )
            known = refitting and refitting.model
            measure = ground.measuring(space.candidate, limits, known)
            found = planner.search(problem, measure)
        journal.note(*found.notes)
        progress.finish(outcome(found.attempt))
        return Found(space.candidate(found.plan), found.attempt, found.fits)

    def _refitting(self, start: State) -> Refitting | None:
        """How plans are judged that are to be reconstructed; None if none is.

        None, too, where layers are so wide that few positions say little of them.
        """
        job = self.ground.job
        if not job.reconstruct or job.from_scratch:
            return None
        data = job.workload.data.calibration
        try:
            refitting = Refitting(start.exported.model, data, job.seed)
        except TraceError:  # as reconstruction will say
            return None
        return refitting if refitting.determined else None

    def space(self, start: State, graph: ChannelGraph) -> Space:
        """The network's own groups and blocks."""
        model = start.exported.model
        first, _ = parse_criteria(self.ground.job.criterion)
        with self.ground.journal.stage("score"):
            scores = score_channels(first, self.ground.context(model, graph))
        return Space(
            model,
            graph,
            self._cost_model(start, graph),
            scores,
            lambda plan: Candidate(model, graph, plan),
        )

    def _judged(
        self, context: Context, space: Space, limits: Budget
    ) -> tuple[Scores, Sensitivity]:
        """The channels' scores, and what groups and blocks are worth.

        A second criterion looks at those near the cut that a first solution makes.
        """
        _, second = parse_criteria(self.ground.job.criterion)
        scores = space.scores
        names = [block.name for block in space.costs.blocks]
        blocks = [name for name in names if name not in space.costs.choices]
        sensitivity = measure_sensitivity(context, scores, blocks)
        if second is not None:
            ranked = comparable_scores(scores, context.graph)
            loss = _loss(space, ranked, sensitivity)
            solution = planner.settle(space.costs, loss, limits)
            scores = rescore(second, context, scores, solution.widths)
        return scores, sensitivity

    def _cost_model(self, start: State, graph: ChannelGraph) -> CostModel:
        """Costs by widths of a network that may have been pruned before."""
        return CostModel(
            graph,
            self.measured(),
            original_ms=self.ground.trials.unpruned_ms,
            figures=start.figures,
            shapes=parameter_shapes(start.exported.model),
        )

    def measured(self) -> LatencyTable:
        """The latency table; of the unpruned network, measured once."""
        ground = self.ground
        if self._table is None:
            self._table = measure_latency_table(
                ground.baseline.exported.model,
                ground.profile.graph,
                ground.bench,
                ground.job.progress,
            )
            ground.journal.latency_model = LatencySummary.of(self._table)
        return self._table


def _loss(space: Space, ranked: Mapping[str, Tensor], sensitivity: Sensitivity) -> Loss:
    """What was measured; nothing is lost by what only is computed in another way."""
    found = losses_of(ranked, sensitivity)
    free = dict.fromkeys(space.costs.choices, 0.0)
    return Loss(found.widths, {**found.blocks, **free})
