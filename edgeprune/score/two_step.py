"""Cheap first, expensive where it matters: two criteria one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgeprune.errors import ScoreError
from edgeprune.graph.groups import Group
from edgeprune.graph.labels import LabelArray
from edgeprune.progress import SILENT
from edgeprune.records import GroupScores, Rescored, Scores
from edgeprune.score.context import Context
from edgeprune.score.criteria import criterion_of, score_channels

NEAR = 8  # of a group's size one part on either side of the cut
PART, FEWEST = 8, 32  # one part of the samples, or so many, tell how long all take


def parse_criteria(text: str) -> tuple[str, str | None]:
    """`l1` or `l1,obd`: the first criterion, and the second if there is one.

    Raises:
        ScoreError: an unknown criterion, or more than two.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        criterion_of(name)
    if len(names) > 2:
        message = f"Give one criterion, or two as in 'l1,obd', found {text!r}."
        raise ScoreError(message)
    return names[0], names[1] if len(names) == 2 else None


def rescore(
    name: str, context: Context, scores: Scores, cuts: Mapping[str, int]
) -> Scores:
    """Let a second criterion put the channels near the cut in order.

    They are an eighth of a group's channels on either side of it. The second criterion
    sees only these; they share the scores that they had among themselves by its order,
    so that losses keep their unit.

    Args:
        cuts: by group, how many channels are to stay.
    """
    candidates = {
        item.name: _near(item.scores, cuts.get(item.name, len(item.scores)))
        for item in scores.groups
    }
    parts = tuple(
        _part(group, candidates[group.name])
        for group in context.graph.groups
        if len(candidates[group.name]) > 1
    )
    if not parts:
        return scores
    start = time.perf_counter()
    second = score_channels(name, context.of_groups(parts))
    seconds = time.perf_counter() - start
    order = {item.name: item.scores for item in second.groups}
    groups = tuple(
        GroupScores(
            item.name, _reordered(item.scores, candidates[item.name], order[item.name])
        )
        if item.name in order
        else item
        for item in scores.groups
    )
    rescored = Rescored(
        criterion=name,
        channels=sum(part.size for part in parts),
        of=sum(group.size for group in context.graph.groups),
        seconds=seconds,
        estimated_seconds_of_all=_estimated(name, context),
    )
    return replace(scores, groups=groups, rescored=rescored)


def _near(scores: tuple[float, ...], cut: int) -> LabelArray:
    """The channels ranked around a cut, rising; none where nothing is cut."""
    if cut >= len(scores):
        return np.zeros(0, dtype=np.int64)
    ranked = np.argsort(-np.array(scores), kind="stable")
    reach = max(1, len(scores) // NEAR)
    return np.sort(ranked[max(0, cut - reach) : cut + reach])


def _part(group: Group, channels: LabelArray) -> Group:
    """A group of some of a group's channels."""
    number = np.full(group.size + 1, -1)
    number[channels] = np.arange(len(channels))
    members = tuple(
        replace(member, channel_of=number[member.channel_of])
        for member in group.members
    )
    return replace(group, size=len(channels), members=members)


def _reordered(
    scores: tuple[float, ...], channels: LabelArray, second: tuple[float, ...]
) -> tuple[float, ...]:
    """The scores of some channels given to them again, in another's order."""
    found = np.array(scores)
    best_first = channels[np.argsort(-np.array(second), kind="stable")]
    found[best_first] = np.sort(found[channels])[::-1]
    return tuple(found.tolist())


def _estimated(name: str, context: Context) -> float | None:
    """Seconds that all channels would take, from a part of the samples.

    None where the part says nothing, as labels that are all the same.
    """
    samples = min(context.samples, max(FEWEST, context.samples // PART))
    times = 1.0 if criterion_of(name).needs == "nothing" else context.samples / samples
    start = time.perf_counter()
    try:
        score_channels(name, replace(context, samples=samples, progress=SILENT))
    except ScoreError:
        return None
    return (time.perf_counter() - start) * times
