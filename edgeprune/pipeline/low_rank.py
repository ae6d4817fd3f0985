"""Factored layers in the solver: each layer is left, pruned or factored, by what pays.

The solver works on a copy in which every layer that can be is factored at full rank:
the same function, with ranks that are groups of channels. What it leaves unfactored is
plain again in the network that is made.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from edgeprune.graph.factored import CORE, FIRST, LAST, factorable
from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.graph.layers import replace_
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.measure.bench import parameter_shapes
from edgeprune.pipeline.by_solver import BySolver, Space
from edgeprune.pipeline.ground import Candidate, Ground
from edgeprune.pipeline.job import State
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.prune.cost_model import Steps
from edgeprune.prune.low_rank import bayesian_ranks, energies, factored
from edgeprune.prune.low_rank_costs import LowRankCosts, Plain, rank_groups
from edgeprune.prune.solver import fastest
from edgeprune.records import GroupScores, Plan, Scores, Surgery, pressure_of
from edgeprune.records.surgery import inside

SHARES = (0.03, 0.06, 0.125, 0.25, 0.375, 0.5, 0.75)  # of the ranks, to choose from


class ByLowRank(BySolver):
    """The solver's choice, factored layers among it."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._of_start: Space | None = None

    def refusal(self) -> str | None:
        """Of pruning alone, unless factoring gets there by prediction."""
        ground, said = self.ground, super().refusal()
        if said is None:
            return None
        costs = self.space(ground.start, ground.profile.graph).costs
        within = replace(ground.limits, latency_ms=None)
        least = fastest(costs, budget=within, params=0.0)
        predicted = costs.predict(least.widths, least.bypassed)
        return None if pressure_of(predicted, ground.limits) <= 1 else said

    def space(self, start: State, graph: ChannelGraph) -> Space:
        """Every layer factored that can be; ranks are ordered by what they carry."""
        if start is not self.ground.start:
            return self._space(start, graph)
        if self._of_start is None:
            self._of_start = self._space(start, graph)
        return self._of_start

    def _space(self, start: State, graph: ChannelGraph) -> Space:
        ground, plain = self.ground, super().space(start, graph)
        layers = factorable(plain.model, graph)
        ground.job.progress.start("factor layers", len(layers))
        whole, whole_graph = _factored(plain.model, ground.bench.inputs, layers)
        if without := [name for name in layers if not rank_groups(whole_graph, name)]:
            layers = tuple(name for name in layers if name not in without)
            whole, whole_graph = _factored(plain.model, ground.bench.inputs, layers)
        ground.job.progress.finish(f"{len(layers)} of them")
        exported = ground.bench.export(whole, "factored", draft=True)
        base, timing = ground.trials.timed(exported)
        costs = LowRankCosts(
            whole_graph,
            measure_latency_table(
                whole, whole_graph, ground.bench, ground.job.progress
            ),
            original_ms=ground.trials.as_usual(timing, base),
            figures=ground.bench.figures(exported, timing),
            shapes=parameter_shapes(whole),
            layers=layers,
            plain=Plain(
                self.measured(),
                ground.trials.unpruned_ms,
                start.figures.layers,
                parameter_shapes(plain.model),
            ),
            steps=self._steps(plain.model, whole_graph, layers),
        )
        exported.discard()

        def candidate(plan: Plan) -> Candidate:
            left = tuple(name for name in layers if inside(name, plan.bypassed))
            chosen = tuple(name for name in layers if name not in left)
            made = copy.deepcopy(whole)
            for name in left:
                layer = copy.deepcopy(plain.model.get_submodule(name))
                replace_(made, name, layer)
            return Candidate(
                made,
                survey(made, ground.bench.inputs),
                _without(plan, left, layers),
                Surgery(factored=chosen),
            )

        def judged(plan: Plan) -> Plan:
            stays = tuple(item for item in plan.bypassed if item not in layers)
            return replace(plan, bypassed=stays)

        return Space(
            whole,
            whole_graph,
            costs,
            _scores(plain.scores, whole, whole_graph, layers),
            candidate,
            judged,
        )

    def _steps(
        self, model: nn.Module, graph: ChannelGraph, layers: tuple[str, ...]
    ) -> Steps:
        """The widths to choose from; few of the ranks, or one by variational Bayes."""
        steps = {group.name: group.widths() for group in graph.groups}
        for layer in layers:
            ranks: dict[str, int] = {}
            if self.ground.job.low_rank == "bayes":
                found = bayesian_ranks(model.get_submodule(layer))
                ranks = dict(zip(_rank_names([layer]), found, strict=False))
            for name in rank_groups(graph, layer):
                steps[name] = _ranks(graph.group(name), ranks.get(name))
        return steps


def _factored(
    model: nn.Module, inputs: Inputs, layers: tuple[str, ...]
) -> tuple[nn.Module, ChannelGraph]:
    """The same function with some layers factored, and its groups."""
    made = factored(model, layers)
    return made, survey(made, inputs)


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
