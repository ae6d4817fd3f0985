"""How a round finds its plan: as many channels as there are components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edgeprune.graph.groups import ChannelGraph
from edgeprune.pipeline.ground import Candidate, Found, Ground, outcome
from edgeprune.pipeline.job import State
from edgeprune.prune import planner
from edgeprune.prune.by_variance import (
    VARIANCE,
    VARIANCES,
    depth_by_growth,
    plan_by_variance,
)
from edgeprune.records import (
    Attempt,
    Budget,
    Plan,
    Scores,
    Spectra,
)
from edgeprune.score.criteria import score_channels
from edgeprune.score.pca import spectra
from edgeprune.score.two_step import parse_criteria, rescore


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

    def find(self, start: State, graph: ChannelGraph, limits: Budget) -> Found:
        """Look at the activations once, then at no data any more."""
        journal, job = self._ground.journal, self._ground.job
        model = start.exported.model
        context = self._ground.context(model, graph)
        with journal.stage("score"):
            found = self._spectra or spectra(context)
            depth = depth_by_growth(graph, found, job.variance or VARIANCE)
            first, second = parse_criteria(job.criterion)
            scores = score_channels(first, context)
        journal.spectra, journal.scores = found, scores
        journal.note(*found.notes, *depth.notes)
        ranked = _ranked(scores)

        def plan(variance: float) -> Plan:
            return plan_by_variance(graph, found, ranked, variance, depth)

        with journal.stage("prune"):
            variances = _variances(self._ground)
            job.progress.start("prune", len(variances).bit_length())
            aim = planner.aimed(limits, planner.AIM[0])  # room for noise
            share, attempt = self._search(
                lambda share: Candidate(model, graph, plan(share)), aim, variances
            )
            job.progress.finish(outcome(attempt))
        chosen = plan(share)
        if second is not None:
            with journal.stage("score"):
                cuts = {name: len(kept) for name, kept in chosen.kept.items()}
                journal.scores = rescore(second, context, scores, cuts)
            ranked |= _ranked(journal.scores)
            chosen = plan(share)
        candidate = Candidate(model, graph, chosen)
        return Found(candidate, attempt, attempt.within_budget)

    def _search(
        self,
        candidate: Callable[[float], Candidate],
        limits: Budget,
        variances: Sequence[float],
    ) -> tuple[float, Attempt]:
        """The last of the rising variances whose network fits, by bisection."""
        tried = 0

        def measured(share: float) -> tuple[float, Attempt]:
            nonlocal tried
            tried += 1
            attempt = self._ground.measure(candidate(share), limits)
            attempt = replace(attempt, round=tried, variance=share)
            return share, self._ground.keep(attempt)

        best = measured(variances[-1])
        low, high = 0, -1 if best[1].within_budget else len(variances) - 2
        while low <= high:
            middle = (low + high) // 2
            found = measured(variances[middle])
            fits = found[1].within_budget
            best = found if fits or not best[1].within_budget else best
            low, high = (middle + 1, high) if fits else (low, middle - 1)
        return best


def _ranked(scores: Scores) -> dict[str, Tensor]:
    return {item.name: torch.tensor(item.scores) for item in scores.groups}


def _variances(ground: Ground) -> list[float]:
    """Rising shares to choose from; one where there is no budget."""
    if ground.budget == Budget():
        return [ground.job.variance or VARIANCE]
    most = ground.job.variance or max(VARIANCES)
    return [*(share for share in VARIANCES if share < most), most]
