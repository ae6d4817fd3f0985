"""How a round finds what to widen: the milliseconds that are left go where they pay.

A copy of the network, twice as wide, is what the latency table is measured on. The
solver then chooses between the network's own widths and wider ones, or all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.measure.bench import parameter_shapes
from edgeprune.pipeline.ground import Candidate, Found, Ground
from edgeprune.pipeline.job import State
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.growth import gains, steps_up, widened
from edgeprune.prune.loss import losses_of
from edgeprune.records import Budget, LatencySummary, Plan
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.sensitivity import measure_sensitivity
from edgeprune.score.two_step import parse_criteria
from edgeprune.units import milliseconds


@dataclass(frozen=True)
class Ceiling:
    """A network twice as wide, and what it costs.

    Attributes:
        able: the groups that are wider.
    """

    able: tuple[str, ...]
    costs: CostModel


class Growth:
    """The widths with the largest gain within the limits.

    Args:
        down: groups may get narrower as well, for others to get wider.
    """

    def __init__(self, ground: Ground, *, down: bool) -> None:
        self._ground, self._down = ground, down

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> Found:
        """Judge the channels, then search for the plan that uses the limits."""
        ground = self._ground
        journal, progress = ground.journal, ground.job.progress
        model = start.exported.model
        context = ground.context(model, graph)
        criterion, _ = parse_criteria(ground.job.criterion)
        with journal.stage("score"):
            scores = score_channels(criterion, context)
            sensitivity = measure_sensitivity(context, scores, ())
        with journal.stage("profile"):
            ceiling = self._ceiling(model, graph)
        ranked = comparable_scores(scores, graph)
        sizes = {group.name: group.size for group in graph.groups}
        loss = gains(losses_of(ranked, sensitivity), sizes, ceiling.able)
        progress.start("grow", planner.ROUNDS)

        def candidate(plan: Plan) -> Candidate:
            return Candidate(model, graph, plan)

        with journal.stage("prune"):
            problem = planner.Problem(graph, ranked, ceiling.costs, loss, limits)
            found = planner.search(problem, ground.measuring(candidate, limits))
        progress.finish(
            f"{milliseconds(found.attempt.latency_ms)}, {_said(found.plan)}"
        )
        return Found(candidate(found.plan), found.attempt, found.fits)

    def _ceiling(self, model: nn.Module, graph: ChannelGraph) -> Ceiling:
        """The widened network, exported, timed and with a latency table of its own."""
        ground = self._ground
        wide, able = widened(model, graph)
        wide_graph = survey(wide, ground.bench.inputs)
        exported = ground.bench.export(wide, "ceiling", draft=True)
        base, timing = ground.trials.timed(exported)
        table = measure_latency_table(
            wide, wide_graph, ground.bench, ground.job.progress
        )
        ground.journal.latency_model = LatencySummary.of(table)
        costs = CostModel(
            wide_graph,
            table,
            original_ms=ground.trials.as_usual(timing, base),
            figures=ground.bench.figures(exported, timing),
            shapes=parameter_shapes(wide),
            steps=steps_up(graph, wide_graph, down=self._down),
            blocks=(),
        )
        exported.discard()
        return Ceiling(able, costs)


def _said(plan: Plan) -> str:
    return f"{len(plan.copies)} groups wider, {len(plan.kept)} narrower"
