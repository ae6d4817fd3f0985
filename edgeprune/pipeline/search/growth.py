"""How a round finds what to widen: the milliseconds that are left go where they pay.

A copy of the network, twice as wide, is what the latency table is measured on. The
solver then chooses between the network's own widths and wider ones, or all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.search.base import FoundPlan
from edgeprune.pipeline.search.evaluation import CandidateBenchmark
from edgeprune.pipeline.search.space import PlainSpace
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.prune.growth import gains, steps_up, widened
from edgeprune.prune.loss import losses_of
from edgeprune.prune.problem import Problem
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


class GrowthSearch:
    """Finds the widths with the largest gain within the limits.

    Args:
        down: groups may get narrower as well, for others to get wider.
    """

    def __init__(self, context: RunContext, *, down: bool) -> None:
        self._context, self._down = context, down

    def find(self, start: ModelSnapshot, limits: Budget) -> FoundPlan:
        """Judge the channels, then search for the plan that uses the limits."""
        context, log = self._context, self._context.log
        model, graph = start.model, context.graph_of(start)
        scoring = context.scoring(model, graph)
        criterion, _ = parse_criteria(context.settings.criterion)
        with log.stage("score"):
            scores = score_channels(criterion, scoring)
            sensitivity = measure_sensitivity(scoring, scores, ())
        with log.stage("profile"):
            ceiling = self._ceiling(model, graph)
        ranked = comparable_scores(scores, graph)
        sizes = {group.name: group.size for group in graph.groups}
        loss = gains(losses_of(ranked, sensitivity), sizes, ceiling.able)
        space = PlainSpace(model, graph, ceiling.costs, scores)
        context.progress.start("grow", planner.ROUNDS)
        with log.stage("prune"):
            problem = Problem(graph, ranked, ceiling.costs, loss, limits)
            benchmark = CandidateBenchmark(context, space, limits)
            result = planner.search(problem, benchmark)
        latency = milliseconds(result.attempt.latency_ms)
        context.progress.finish(f"{latency}, {_text_of(result.plan)}")
        return benchmark.found(result)

    def _ceiling(self, model: nn.Module, graph: ChannelGraph) -> Ceiling:
        """Widen the network; export it, time it and measure its latency table."""
        context, evaluator = self._context, self._context.evaluator
        wide, able = widened(model, graph)
        wide_graph = survey(wide, context.job.workload.inputs)
        paired, figures = evaluator.draft(wide, "ceiling")
        table = evaluator.latency_table(wide, wide_graph, context.progress)
        context.log.latency_model = LatencySummary.of(table)
        costs = evaluator.cost_model(
            wide,
            wide_graph,
            table,
            figures,
            ratio=paired.ratio,
            steps=steps_up(graph, wide_graph, down=self._down),
            blocks=(),
        )
        return Ceiling(able, costs)


def _text_of(plan: Plan) -> str:
    return f"{len(plan.copies)} groups wider, {len(plan.kept)} narrower"
