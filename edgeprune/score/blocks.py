"""Scores whole blocks by a criterion, in the unit of channels' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.score.context import Context, within
from edgeprune.score.criteria import score_channels, unit_of


def score_blocks(
    name: str, context: Context, blocks: Sequence[str], ranked: Mapping[str, Tensor]
) -> dict[str, float]:
    """A criterion's score of each block: what it gives the block's own part of groups.

    Of a residual block's stage only the layers within the block are looked at: what
    they make of the stage's channels and how they read them. The channels' scores are
    added up. A block with no group of its own that passes through it counts by the
    groups inside.

    Args:
        ranked: raw scores of the whole groups, shape (channels,) each: a score that is
            comparable only within a group is divided by the mean of these.
    """
    parts = {
        f"{block}/{group.name}": (block, group)
        for block in blocks
        for group in _parts(context.graph, block)
    }
    if not parts:
        return {}
    groups = tuple(replace(part, name=key) for key, (_, part) in parts.items())
    scores = score_channels(name, context.of_groups(groups))
    found: dict[str, float] = {}
    for item in scores.groups:
        block, group = parts[item.name]
        unit = unit_of(name, ranked[group.name])
        found[block] = found.get(block, 0.0) + sum(item.scores) / unit
    return found


def _parts(graph: ChannelGraph, block: str) -> list[Group]:
    """The block's part of the groups that pass through it, or of those inside."""
    touched = [within(group, block) for group in graph.groups]
    touched = [group for group in touched if group.members]
    passing = [
        group
        for group in touched
        if {"input", "output"} <= {member.role for member in group.members}
        and len(group.members) < len(graph.group(group.name).members)
    ]
    return passing or touched
