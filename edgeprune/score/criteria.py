"""The table of criteria and the one call that scores a network with any of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.errors import ScoreError
from edgeprune.graph.groups import ChannelGraph
from edgeprune.records import GroupScores, Scores
from edgeprune.score import magnitude, noise, taylor
from edgeprune.score.context import Context


@dataclass(frozen=True)
class Criterion:
    """How channels are judged.

    Attributes:
        score: from the context to one score of shape (channels,) per group.
        needs_data: reads labelled batches.
        comparable: scores of different groups are in the same unit; others are
            divided by their group's mean before groups are compared.
    """

    score: Callable[[Context], dict[str, Tensor]]
    needs_data: bool = False
    comparable: bool = False


CRITERIA: dict[str, Criterion] = {
    "l1": Criterion(magnitude.l1),
    "l2": Criterion(magnitude.l2),
    "taylor": Criterion(taylor.taylor, needs_data=True, comparable=True),
    "random": Criterion(noise.random),
}


def score_channels(name: str, context: Context) -> Scores:
    """Score every channel of every group by one criterion.

    Raises:
        ScoreError: no such criterion, no data for one that needs them, or scores
            that are not finite.
    """
    criterion = CRITERIA.get(name)
    if criterion is None:
        message = f"Unknown criterion {name!r}: choose one of {', '.join(CRITERIA)}."
        raise ScoreError(message)
    if criterion.needs_data and context.batches is None:
        raise ScoreError(f"Criterion {name!r} needs labelled data: give --data.")
    start = time.perf_counter()
    found = criterion.score(context)
    for group, scores in found.items():
        if not torch.isfinite(scores).all():
            message = f"Criterion {name!r} gives NaN or infinity for {group!r}."
            raise ScoreError(message)
    return Scores(
        criterion=name,
        groups=tuple(
            GroupScores(group.name, tuple(found[group.name].double().tolist()))
            for group in context.graph.groups
        ),
        samples=context.samples if criterion.needs_data else 0,
        seconds=time.perf_counter() - start,
        seed=context.seed,
    )


def comparable_scores(scores: Scores, graph: ChannelGraph) -> dict[str, Tensor]:
    """Scores whose groups can be compared with each other, shape (channels,) each."""
    unit = CRITERIA[scores.criterion].comparable
    held = {group.name: torch.tensor(group.scores).double() for group in scores.groups}
    return {
        group.name: held[group.name]
        if unit
        else held[group.name] / held[group.name].mean().clamp_min(1e-30)
        for group in graph.groups
    }
