"""The plan with as many channels as there are components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.search.base import FoundPlan, outcome_text
from edgeprune.prune import planner
from edgeprune.prune.by_variance import (
    VARIANCE,
    VARIANCES,
    Depth,
    depth_by_growth,
    plan_by_variance,
)
from edgeprune.records import Attempt, Budget, Scores, Spectra
from edgeprune.score.criteria import score_channels
from edgeprune.score.pca import spectra
from edgeprune.score.two_step import parse_criteria, rescore


@dataclass
class _Widths:
    """Plans of a network by the share of variance that they keep."""

    model: nn.Module
    graph: ChannelGraph
    spectra: Spectra
    depth: Depth
    ranked: dict[str, Tensor]

    def candidate(self, variance: float) -> Candidate:
        """The network that explains a share of the variance."""
        plan = plan_by_variance(
            self.graph, self.spectra, self.ranked, variance, self.depth
        )
        return Candidate(self.model, self.graph, plan)


class PcaSearch:
    """Takes widths from explained variance and depth from its growth.

    With a budget it is the largest variance whose network fits, each one exported and
    measured, none trained.

    Args:
        spectra: of a proxy that is to be looked at; the network's own if missing.
    """

    def __init__(self, context: RunContext, spectra: Spectra | None = None) -> None:
        self._context, self._spectra = context, spectra

    def find(self, start: ModelSnapshot, limits: Budget) -> FoundPlan:
        """Look at the activations once, then at no data any more."""
        context, log = self._context, self._context.log
        settings = context.settings
        graph = context.graph_of(start)
        scoring = context.scoring(start.model, graph)
        with log.stage("score"):
            components = self._spectra or spectra(scoring)
            depth = depth_by_growth(graph, components, settings.variance or VARIANCE)
            first, second = parse_criteria(settings.criterion)
            scores = score_channels(first, scoring)
        log.spectra, log.scores = components, scores
        log.note(*components.notes, *depth.notes)
        widths = _Widths(start.model, graph, components, depth, _ranked(scores))
        with log.stage("prune"):
            variances = self._variances()
            context.progress.start("prune", len(variances).bit_length())
            within = limits.with_time_scaled(planner.AIM[0])  # room for noise
            share, candidate, attempt = self._largest(widths, within, variances)
            context.progress.finish(outcome_text(attempt))
        if second is not None:
            with log.stage("score"):
                cuts = {name: len(held) for name, held in candidate.plan.kept.items()}
                log.scores = rescore(second, scoring, scores, cuts)
            widths.ranked |= _ranked(log.scores)
            candidate = widths.candidate(share)
        return FoundPlan(candidate, attempt, attempt.within_budget)

    def _largest(
        self, widths: _Widths, limits: Budget, variances: Sequence[float]
    ) -> tuple[float, Candidate, Attempt]:
        """Find the last of the rising variances whose network fits, by bisection."""
        tried = 0

        def measured(share: float) -> tuple[float, Candidate, Attempt]:
            nonlocal tried
            tried += 1
            candidate = widths.candidate(share)
            evaluator = self._context.evaluator
            attempt = evaluator.attempt(candidate, limits, brief=True)
            attempt = replace(attempt, round=tried, variance=share)
            return share, candidate, self._context.keep(attempt)

        best = measured(variances[-1])
        low, high = 0, -1 if best[2].within_budget else len(variances) - 2
        while low <= high:
            middle = (low + high) // 2
            other = measured(variances[middle])
            fits = other[2].within_budget
            best = other if fits or not best[2].within_budget else best
            low, high = (middle + 1, high) if fits else (low, middle - 1)
        return best

    def _variances(self) -> list[float]:
        """Rising shares to choose from; one where there is no budget."""
        given = self._context.settings.variance
        if self._context.budget == Budget():
            return [given or VARIANCE]
        most = given or max(VARIANCES)
        return [*(share for share in VARIANCES if share < most), most]


def _ranked(scores: Scores) -> dict[str, Tensor]:
    return {item.name: torch.tensor(item.scores) for item in scores.groups}
