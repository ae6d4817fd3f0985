"""The table of criteria and the one call that scores a network with any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from edgeprune.data import Batches
from edgeprune.errors import ScoreError, TraceError
from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.records import GroupScores, Scores
from edgeprune.score.apoz import apoz
from edgeprune.score.context import Context
from edgeprune.score.fpgm import fpgm
from edgeprune.score.hopls import hopls_vip
from edgeprune.score.magnitude import l1, l2
from edgeprune.score.noise import random
from edgeprune.score.obd import obd
from edgeprune.score.output_gradient import output_gradient
from edgeprune.score.pca import pca
from edgeprune.score.pls import pls_vip
from edgeprune.score.slimming import slimming
from edgeprune.score.taylor import taylor
from edgeprune.score.taylor_weight import taylor_weight

TINY = 1e-30  # a group of zeros stays one
Needs = Literal["nothing", "data", "labelled data"]


@dataclass(frozen=True)
class Criterion:
    """How channels are judged.

    Attributes:
        score: from the context to one score of shape (channels,) per group.
        comparable: scores of different groups are in the same unit; others are
            divided by their group's mean before groups are compared.
    """

    score: Callable[[Context], dict[str, Tensor]]
    needs: Needs = "nothing"
    comparable: bool = False


CRITERIA: dict[str, Criterion] = {
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "fpgm": Criterion(fpgm),
    "slimming": Criterion(slimming),
    "apoz": Criterion(apoz, "data"),
    "taylor": Criterion(taylor, "labelled data", comparable=True),
    "taylor_weight": Criterion(taylor_weight, "labelled data", comparable=True),
    "output_gradient": Criterion(output_gradient, "data", comparable=True),
    "obd": Criterion(obd, "data", comparable=True),
    "pls_vip": Criterion(pls_vip, "labelled data", comparable=True),
    "hopls_vip": Criterion(hopls_vip, "labelled data"),
    "pca": Criterion(pca, "data"),
    "random": Criterion(random),
}


def register_criterion(
    name: str,
    score: Callable[[Context], dict[str, Tensor]],
    *,
    needs: Needs = "nothing",
    comparable: bool = False,
) -> None:
    """Add a criterion of your own; every call and command takes it by its name then.

    Args:
        score: from the context to one score of shape (channels,) for each group; what
            scores higher is kept.
        needs: nothing, data, or labelled data.
        comparable: scores of different groups are in the same unit; others are divided
            by their group's mean before groups are compared.

    Raises:
        ScoreError: there is one of that name.

    Example:
        >>> import edgeprune, torch
        >>> def first_come(context):
        ...     return {
        ...         group.name: -torch.arange(float(group.size))
        ...         for group in context.graph.groups
        ...     }
        >>> edgeprune.register_criterion("first_come", first_come)
    """
    if name in CRITERIA:
        raise ScoreError(f"A criterion named {name!r} already exists.")
    CRITERIA[name] = Criterion(score, needs, comparable)


def score_channels(name: str, context: Context) -> Scores:
    """Score every channel of every group by one criterion.

    Raises:
        ScoreError: no such criterion, no data for one that needs them, or scores
            that are not finite.

    Example:
        >>> import edgeprune, torch
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
        ... )
        >>> graph = edgeprune.survey(model, (torch.randn(1, 3, 16, 16),))
        >>> scores = edgeprune.score_channels("l1", edgeprune.Context(model, graph))
        >>> [(group.name, len(group.scores)) for group in scores.groups]
        [('0', 8)]
    """
    criterion = criterion_of(name)
    if criterion.needs != "nothing" and context.batches is None:
        raise ScoreError(f"Criterion {name!r} needs {criterion.needs}: give --data.")
    start = time.perf_counter()
    counted = _Counted(context.batches or ())
    found: dict[str, Tensor] = {}
    if context.graph.groups:
        try:
            found = criterion.score(replace(context, batches=counted))
        except TraceError as error:
            raise ScoreError(str(error)) from error
    for group in context.graph.groups:
        _check_scores(name, group, found.get(group.name))
    return Scores(
        criterion=name,
        groups=tuple(
            GroupScores(group.name, tuple(found[group.name].double().tolist()))
            for group in context.graph.groups
        ),
        samples=min(context.samples, counted.samples),
        seconds=time.perf_counter() - start,
        seed=context.seed,
    )


class _Counted:
    """Batches that remember how many samples they gave in the last pass."""

    def __init__(self, batches: Batches | tuple[()]) -> None:
        self._batches = batches
        self.samples = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.samples = 0
        for x, y in self._batches:
            self.samples += len(y)
            yield x, y


def _check_scores(name: str, group: Group, scores: Tensor | None) -> None:
    """Refuse scores that are missing, of another shape, or not finite."""
    if scores is None or tuple(scores.shape) != (group.size,):
        found = "none" if scores is None else f"shape {tuple(scores.shape)}"
        message = (
            f"Criterion {name!r} must give group {group.name!r} one score for each of "
            f"its {group.size} channels, found {found}."
        )
        raise ScoreError(message)
    if not torch.isfinite(scores).all():
        message = f"Criterion {name!r} gives NaN or infinity for {group.name!r}."
        raise ScoreError(message)


def criterion_of(name: str) -> Criterion:
    """A criterion by its name.

    Raises:
        ScoreError: there is none.
    """
    if name not in CRITERIA:
        message = f"Unknown criterion {name!r}: choose one of {', '.join(CRITERIA)}."
        raise ScoreError(message)
    return CRITERIA[name]


def comparable_scores(scores: Scores, graph: ChannelGraph) -> dict[str, Tensor]:
    """Scores whose groups can be compared with each other, shape (channels,) each."""
    held = {group.name: torch.tensor(group.scores).double() for group in scores.groups}
    return {
        group.name: held[group.name] / unit_of(scores.criterion, held[group.name])
        for group in graph.groups
    }


def unit_of(name: str, scores: Tensor) -> float:
    """Return the unit by which a group's scores are divided before groups are compared.

    The mean of the group, but for criteria whose scores are in one unit for all.
    """
    if CRITERIA[name].comparable:
        return 1.0
    return max(float(scores.mean()), TINY)
