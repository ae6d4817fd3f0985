"""Search spaces: a network's own groups and blocks, or factored layers too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.profile.counted_table import counted_table
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import Budget, LatencySummary, LatencyTable, Plan, Scores
from edgeprune.score.criteria import score_channels
from edgeprune.score.two_step import parse_criteria


class SearchSpace(Protocol):
    """A network, its costs, and what a plan for it comes to.

    Attributes:
        model: whose channels are judged; it computes what the round's start does.
        scores: of its channels, by the first criterion.
    """

    @property
    def model(self) -> nn.Module: ...  # noqa: D102  see above

    @property
    def graph(self) -> ChannelGraph: ...  # noqa: D102

    @property
    def costs(self) -> CostModel: ...  # noqa: D102

    @property
    def scores(self) -> Scores: ...  # noqa: D102

    def candidate(self, plan: Plan) -> Candidate:
        """The network that a plan makes."""
        ...

    def judged(self, plan: Plan) -> Plan:
        """The same plan without what changes no output."""
        ...


class Spaces(Protocol):
    """Makes the space of every round."""

    def space(self, start: ModelSnapshot) -> SearchSpace:
        """Describe the choices that a partly pruned network offers."""
        ...

    def reaches_limits(self) -> bool:
        """Whether more than pruning may come within the limits, by prediction."""
        ...


@dataclass
class PlainSpace:
    """The network's own groups and blocks."""

    model: nn.Module
    graph: ChannelGraph
    costs: CostModel
    scores: Scores

    def candidate(self, plan: Plan) -> Candidate:
        """The network, cut."""
        return Candidate(self.model, self.graph, plan)

    def judged(self, plan: Plan) -> Plan:
        """Everything that it says changes outputs."""
        return plan


class PlainSpaces:
    """Spaces for pruning alone, with the latency table of the unpruned network.

    Measured, if time is what is asked for; else that of its profile will do.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._table: LatencyTable | None = None

    def space(self, start: ModelSnapshot) -> PlainSpace:
        """Score the channels, and reckon costs by the latency table."""
        context = self._context
        graph = context.graph_of(start)
        first, _ = parse_criteria(context.settings.criterion)
        with context.log.stage("score"):
            scores = score_channels(first, context.scoring(start.model, graph))
        return PlainSpace(start.model, graph, self.costs(start, graph), scores)

    def reaches_limits(self) -> bool:
        """Pruning is all there is."""
        return False

    def costs(self, start: ModelSnapshot, graph: ChannelGraph) -> CostModel:
        """Costs by widths of a network that may have been pruned before."""
        evaluator = self._context.evaluator
        return evaluator.cost_model(start.model, graph, self.table(), start.figures)

    def table(self) -> LatencyTable:
        """The latency table of the unpruned network; it is made once."""
        if self._table is None:
            self._table = self._made()
        return self._table

    def _made(self) -> LatencyTable:
        context = self._context
        budget, profile = context.budget, context.profile
        model, graph = context.baseline.model, profile.graph
        if not budget.limits_time and budget != Budget():
            memory = budget.memory_bytes is not None
            return counted_table(
                model, graph, profile.benchmark, profile.figures, memory=memory
            )
        table = context.evaluator.latency_table(model, graph, context.progress)
        context.log.latency_model = LatencySummary.of(table)
        return table
