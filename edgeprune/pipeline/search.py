"""How a round finds its plan: by the solver, or by the principal components.

Both judge the channels, choose widths and blocks, and let what they chose be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from edgeprune.graph.groups import ChannelGraph
from edgeprune.measure.bench import Bench, parameter_shapes
from edgeprune.pipeline.job import Job, Journal, State
from edgeprune.pipeline.smallest import Smallest
from edgeprune.pipeline.trials import Trials
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.profile.network import Profile
from edgeprune.prune import planner
from edgeprune.prune.by_variance import (
    VARIANCE,
    VARIANCES,
    depth_by_growth,
    plan_by_variance,
)
from edgeprune.prune.cost_model import CostModel, Prediction
from edgeprune.prune.exchange import JUDGED
from edgeprune.prune.loss import losses_of
from edgeprune.prune.solver import Solution
from edgeprune.records import (
    Attempt,
    Budget,
    LatencySummary,
    LatencyTable,
    Plan,
    Scores,
    Sensitivity,
    Spectra,
)
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.pca import spectra
from edgeprune.score.sensitivity import Judge, measure_sensitivity
from edgeprune.score.two_step import parse_criteria, rescore


@dataclass
class Ground:
    """What a search stands on.

    Attributes:
        limits: the budget; the baseline's time where it says nothing of time.
    """

    job: Job
    bench: Bench
    journal: Journal
    trials: Trials
    profile: Profile
    baseline: State
    limits: Budget

    def context(self, start: State, graph: ChannelGraph) -> Context:
        """What criteria may look at."""
        return Context(
            start.exported.model,
            graph,
            self.job.workload.data.calibration,
            seed=self.job.seed,
            progress=self.job.progress,
        )

    def measure(
        self, start: State, graph: ChannelGraph, plan: Plan, limits: Budget
    ) -> Attempt:
        """A plan, applied, exported and measured beside the baseline."""
        return self.trials.attempt(start.exported.model, graph, plan, limits)

    def keep(self, attempt: Attempt) -> Attempt:
        """A measured plan, for the report and to be shown."""
        self.journal.attempts.append(attempt)
        self.job.progress.advance(f"{attempt.latency_ms:.2f} ms")
        return attempt


class Search(Protocol):
    """How a round finds its plan."""

    def refusal(self) -> str | None:
        """Why the limits are out of reach, before anything is scored or trained."""
        ...

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> planner.Search:
        """The plan for a network on its way."""
        ...


class BySolver:
    """Least loss within the limits, by the latency table and the solver."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._table: LatencyTable | None = None

    def refusal(self) -> str | None:
        """Export and measure the smallest network."""
        ground = self._ground
        with ground.journal.stage("profile"):
            graph = ground.profile.graph
            model = self._cost_model(ground.baseline, graph)
            smallest = Smallest(ground.trials, graph, model, ground.limits)
            return smallest.refusal(ground.job.progress)

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> planner.Search:
        """Judge the channels, then search for the plan that fits."""
        journal, progress = self._ground.journal, self._ground.job.progress
        context = self._ground.context(start, graph)
        model = self._cost_model(start, graph)
        with journal.stage("score"):
            scores, sensitivity = self._judged(context, model, limits)
        journal.scores = journal.scores or scores
        journal.sensitivity = journal.sensitivity or sensitivity
        ranked = comparable_scores(scores, graph)
        loss = losses_of(ranked, sensitivity)
        progress.start("prune", planner.ROUNDS)

        def measure(
            plan: Plan, number: int, solution: Solution, predicted: Prediction
        ) -> Attempt:
            attempt = replace(
                self._ground.measure(start, graph, plan, limits),
                round=number,
                predicted_ms=predicted.latency_ms,
                gap=solution.gap,
            )
            return self._ground.keep(attempt)

        with journal.stage("prune"):
            judge = Judge(context, JUDGED)
            problem = planner.Problem(graph, ranked, model, loss, limits, judge.error)
            found = planner.search(problem, measure)
        journal.note(*found.notes)
        progress.finish(_outcome(found.attempt))
        return found

    def _judged(
        self, context: Context, model: CostModel, limits: Budget
    ) -> tuple[Scores, Sensitivity]:
        """The channels' scores, and what groups and blocks are worth.

        A second criterion looks at those near the cut that a first solution makes.
        """
        first, second = parse_criteria(self._ground.job.criterion)
        scores = score_channels(first, context)
        blocks = [block.name for block in model.blocks]
        sensitivity = measure_sensitivity(context, scores, blocks)
        if second is not None:
            loss = losses_of(comparable_scores(scores, context.graph), sensitivity)
            solution = planner.settle(model, loss, limits)
            scores = rescore(second, context, scores, solution.widths)
        return scores, sensitivity

    def _cost_model(self, start: State, graph: ChannelGraph) -> CostModel:
        """Costs by widths of a network that may have been pruned before."""
        return CostModel(
            graph,
            self._measured(),
            original_ms=self._ground.trials.usual_ms,
            figures=start.figures,
            shapes=parameter_shapes(start.exported.model),
        )

    def _measured(self) -> LatencyTable:
        """The latency table; of the unpruned network, measured once."""
        ground = self._ground
        if self._table is None:
            self._table = measure_latency_table(
                ground.baseline.exported.model,
                ground.profile.graph,
                ground.bench,
                ground.job.progress,
            )
            ground.journal.latency_model = LatencySummary.of(self._table)
        return self._table


class ByVariance:
    """Widths by explained variance and depth by its growth; no search over plans.

    With a budget it is the largest variance whose network fits, each one exported and
    measured, none trained.
    """

    def __init__(self, ground: Ground, spectra: Spectra | None = None) -> None:
        self._ground, self._spectra = ground, spectra

    def refusal(self) -> str | None:
        """Nothing is known before the spectra are."""
        return None

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> planner.Search:
        """Look at the activations once, then at no data any more."""
        journal, job = self._ground.journal, self._ground.job
        context = self._ground.context(start, graph)
        with journal.stage("score"):
            found = self._spectra or spectra(context)
            depth = depth_by_growth(graph, found, job.variance or VARIANCE)
            first, second = parse_criteria(job.criterion)
            scores = score_channels(first, context)
        journal.spectra, journal.scores = found, scores
        journal.note(*found.notes, *depth.notes)
        ranked = {item.name: torch.tensor(item.scores) for item in scores.groups}

        def plan(variance: float) -> Plan:
            return plan_by_variance(graph, found, ranked, variance, depth)

        with journal.stage("prune"):
            variances = _variances(job)
            job.progress.start("prune", len(variances).bit_length())
            aim = planner.aimed(limits, planner.AIM[0])  # room for noise
            search = self._search(start, graph, aim, plan, variances)
            job.progress.finish(_outcome(search.attempt))
        if second is None:
            return search
        with journal.stage("score"):
            cuts = {name: len(kept) for name, kept in search.plan.kept.items()}
            journal.scores = rescore(second, context, scores, cuts)
        held = {item.name: item.scores for item in journal.scores.groups}
        kept = {
            name: graph.group(name).best(held[name], width)
            for name, width in cuts.items()
        }
        return replace(search, plan=replace(search.plan, kept=kept))

    def _search(
        self,
        start: State,
        graph: ChannelGraph,
        limits: Budget,
        plan: Callable[[float], Plan],
        variances: Sequence[float],
    ) -> planner.Search:
        """The last of the rising variances whose network fits, by bisection."""
        tried = 0

        def measured(variance: float) -> planner.Search:
            nonlocal tried
            tried += 1
            made = plan(variance)
            attempt = self._ground.measure(start, graph, made, limits)
            attempt = replace(attempt, round=tried, variance=variance)
            self._ground.keep(attempt)
            return planner.Search(made, attempt, attempt.within_budget)

        best = measured(variances[-1])
        low, high = 0, -1 if best.fits else len(variances) - 2
        while low <= high:
            middle = (low + high) // 2
            found = measured(variances[middle])
            best = found if found.fits or not best.fits else best
            low, high = (middle + 1, high) if found.fits else (low, middle - 1)
        return best


def _variances(job: Job) -> list[float]:
    """Rising shares to choose from; one where there is no budget."""
    if job.budget == Budget():
        return [job.variance or VARIANCE]
    most = job.variance or max(VARIANCES)
    return [*(share for share in VARIANCES if share < most), most]


def _outcome(attempt: Attempt) -> str:
    return f"{attempt.latency_ms:.2f} ms with {attempt.kept_share:.0%} of the channels"
