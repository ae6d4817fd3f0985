"""Factored layers in the solver: each layer is left, pruned or factored, by what pays.

The solver works on a copy in which every layer that can be is factored at full rank:
the same function, with ranks that are groups of channels. What it leaves unfactored is
plain again in the network that is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from edgeprune.graph.factored import CORE, FIRST, LAST, factorable
from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.graph.layers import replace_
from edgeprune.graph.model_copy import copied
from edgeprune.graph.region import Region
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.measure.benchmark import parameter_shapes
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.search.space import PlainSpace, PlainSpaces
from edgeprune.prune.low_rank import bayesian_ranks, energies, factored
from edgeprune.prune.low_rank_costs import LowRankCosts, Plain, rank_groups
from edgeprune.prune.solver import fastest
from edgeprune.prune.widths import Steps
from edgeprune.records import GroupScores, Plan, Scores, Surgery, pressure_of
from edgeprune.records.surgery import inside

SHARES = (0.03, 0.06, 0.125, 0.25, 0.375, 0.5, 0.75)  # of the ranks, to choose from


@dataclass
class FactoredSpace:
    """A network in which every layer that can be is factored at full rank.

    Attributes:
        plain: the network without any layer factored.
        layers: those that are.
        inputs: what it is traced with.
        region: what of it may change.
    """

    model: nn.Module
    graph: ChannelGraph
    costs: LowRankCosts
    scores: Scores
    plain: nn.Module
    layers: tuple[str, ...]
    inputs: Inputs
    region: Region

    def candidate(self, plan: Plan) -> Candidate:
        """The network, with the layers plain again that the plan leaves unfactored."""
        left = tuple(name for name in self.layers if inside(name, plan.bypassed))
        chosen = tuple(name for name in self.layers if name not in left)
        model = copied(self.model)
        for name in left:
            replace_(model, name, copied(self.plain.get_submodule(name)))
        return Candidate(
            model,
            self.region.within(survey(model, self.inputs)),
            _without(plan, left, self.layers),
            Surgery(factored=chosen),
        )

    def judged(self, plan: Plan) -> Plan:
        """A layer at full rank computes what the plain one does."""
        stays = tuple(item for item in plan.bypassed if item not in self.layers)
        return replace(plan, bypassed=stays)


class FactoredSpaces:
    """Spaces in which layers are left, pruned or factored, by what pays."""

    def __init__(self, context: RunContext, plain: PlainSpaces) -> None:
        self._context, self._plain = context, plain
        self._of_start: FactoredSpace | None = None

    def space(self, start: ModelSnapshot) -> FactoredSpace:
        """Factor every layer that can be; ranks are ordered by what they carry."""
        if start is not self._context.start:
            return self._space(start)
        if self._of_start is None:
            self._of_start = self._space(start)
        return self._of_start

    def reaches_limits(self) -> bool:
        """Whether factoring may come within the limits, by prediction."""
        context = self._context
        costs = self.space(context.start).costs
        least = fastest(costs, budget=context.limits.without_time(), params=0.0)
        predicted = costs.predict(least.widths, least.bypassed)
        return pressure_of(predicted, context.limits) <= 1

    def _space(self, start: ModelSnapshot) -> FactoredSpace:
        context, plain = self._context, self._plain.space(start)
        inputs = context.job.workload.inputs
        region = context.job.region
        layers = tuple(
            name
            for name in factorable(plain.model, plain.graph)
            if not region.refusal(name)
        )
        context.progress.start("factor layers", len(layers))
        model, graph = _factored(plain.model, inputs, layers, region)
        if without := [name for name in layers if not rank_groups(graph, name)]:
            layers = tuple(name for name in layers if name not in without)
            model, graph = _factored(plain.model, inputs, layers, region)
        context.progress.finish(f"{len(layers)} of them")
        return FactoredSpace(
            model,
            graph,
            self._costs(start, plain, (model, graph), layers),
            _scores(plain.scores, model, graph, layers),
            plain.model,
            layers,
            inputs,
            region,
        )

    def _costs(
        self,
        start: ModelSnapshot,
        plain: PlainSpace,
        factored: tuple[nn.Module, ChannelGraph],
        layers: tuple[str, ...],
    ) -> LowRankCosts:
        """Costs of the factored network, or of any of its layers plain."""
        context, (model, graph) = self._context, factored
        evaluator = context.evaluator
        paired, figures = evaluator.draft(model, "factored")
        table = evaluator.latency_table(model, graph, context.progress)
        return LowRankCosts(
            graph,
            table,
            original_ms=paired.ratio * evaluator.reference.ms,
            reference_ms=evaluator.reference.ms,
            figures=figures,
            shapes=parameter_shapes(model),
            layers=layers,
            plain=Plain(
                self._plain.table(),
                evaluator.start_ms,
                start.figures.layers,
                parameter_shapes(plain.model),
            ),
            steps=self._steps(plain.model, graph, layers),
        )

    def _steps(
        self, model: nn.Module, graph: ChannelGraph, layers: tuple[str, ...]
    ) -> Steps:
        """The widths to choose from; few of the ranks, or one by variational Bayes."""
        steps = {group.name: group.widths() for group in graph.groups}
        for layer in layers:
            ranks: dict[str, int] = {}
            if self._context.settings.low_rank == "bayes":
                bayesian = bayesian_ranks(model.get_submodule(layer))
                ranks = dict(zip(_rank_names([layer]), bayesian, strict=False))
            for name in rank_groups(graph, layer):
                steps[name] = _ranks(graph.group(name), ranks.get(name))
        return steps


def _factored(
    model: nn.Module, inputs: Inputs, layers: tuple[str, ...], region: Region
) -> tuple[nn.Module, ChannelGraph]:
    """The same function with some layers factored, and its groups."""
    made = factored(model, layers)
    return made, region.within(survey(made, inputs))


def _ranks(group: Group, bayesian: int | None) -> list[int]:
    """Ranks to choose from, all of them last."""
    widths = group.widths()
    wanted = [share * group.size for share in SHARES]
    if bayesian is not None:
        enough = [width for width in widths if width >= bayesian]
        return sorted({enough[0], group.size})
    near = {min(widths, key=lambda width: abs(width - rank)) for rank in wanted}
    return sorted({*near, group.size})


def _without(plan: Plan, left: tuple[str, ...], layers: tuple[str, ...]) -> Plan:
    """A plan for the network in which some of the factored layers are plain again."""
    kept = {
        _plain_name(name, left): stays
        for name, stays in plan.kept.items()
        if not inside(name, _rank_names(left))
    }
    return Plan(kept, tuple(name for name in plan.bypassed if name not in layers))


def _scores(
    scores: Scores, model: nn.Module, graph: ChannelGraph, layers: tuple[str, ...]
) -> Scores:
    """The plain network's scores for the factored one, whose ranks have their own."""
    held = {item.name: item.scores for item in scores.groups}
    ranks: dict[str, tuple[float, ...]] = {}
    for layer in layers:
        for name, values in energies(model, layer).items():
            ranks[name] = tuple(values.tolist())
    held |= ranks
    groups = tuple(
        GroupScores(
            group.name,
            held.get(_plain_name(group.name, layers), (1.0,) * group.size),
        )
        for group in graph.groups
    )
    return replace(scores, groups=groups)


def _rank_names(layers: Iterable[str]) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in (FIRST, CORE)]


def _plain_name(name: str, layers: Iterable[str]) -> str:
    """A group's name where some layers are not factored: their last part makes it."""
    for layer in layers:
        last = f"{layer}.{LAST}"
        if name == last or name.startswith(f"{last}#"):
            return layer + name.removeprefix(last)
    return name
