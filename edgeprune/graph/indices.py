"""Turns a plan into indices of each parameter axis: which stay, and which repeat."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeprune.errors import PlanError
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.labels import Axis, LabelArray
from edgeprune.records import Plan


def validate(graph: ChannelGraph, plan: Plan) -> None:
    """Refuse a plan that names unknown groups or channels, or empties a group.

    Raises:
        PlanError: with the group and what is wrong with it.
    """
    sizes = {group.name: group.size for group in graph.groups}
    for name in dict.fromkeys([*plan.kept, *plan.copies]):
        if name not in sizes:
            refused = [item.reason for item in graph.refusals if item.name == name]
            why = f": {refused[0]}" if refused else ""
            message = f"Plan names {name!r}, which is no prunable group{why}."
            raise PlanError(message)
    _check_kept(plan, sizes)
    _check_copies(graph, plan, sizes)


def kept_indices(graph: ChannelGraph, plan: Plan) -> dict[Axis, LabelArray]:
    """The indices that stay, for each parameter axis that changes.

    Indices of a channel that is copied repeat, each run of them as a whole, behind
    themselves: a flattened channel has many indices, a grouped layer many runs.
    """
    times: dict[Axis, LabelArray] = {}
    owners: dict[Axis, LabelArray] = {}
    for number, (name, copies) in enumerate(copies_of(graph, plan).items()):
        for member in graph.group(name).members:
            axis = (member.parameter, member.axis)
            size = len(member.channel_of)
            here = member.channel_of >= 0
            each = times.setdefault(axis, np.ones(size, dtype=np.int64))
            each[here] = copies[member.channel_of[here]]
            owner = owners.setdefault(axis, np.full(size, -1, dtype=np.int64))
            owner[here] = member.channel_of[here] + number * graph.channels
    return {
        axis: _repeated(each, owners[axis])
        for axis, each in times.items()
        if (each != 1).any()
    }


def copies_of(graph: ChannelGraph, plan: Plan) -> dict[str, LabelArray]:
    """How often each channel is there afterwards, for each group that changes."""
    found: dict[str, LabelArray] = {}
    for name in dict.fromkeys([*plan.kept, *plan.copies]):
        size = graph.group(name).size
        times = np.zeros(size, dtype=np.int64)
        times[list(plan.kept.get(name, range(size)))] = 1
        np.add.at(times, list(plan.copies.get(name, ())), 1)
        found[name] = times
    return found


def _repeated(times: LabelArray, owner: LabelArray) -> LabelArray:
    """Indices, each run of one owner as often as its first index says."""
    if times.max() <= 1:
        return np.flatnonzero(times)
    runs = np.split(np.arange(len(times)), np.flatnonzero(np.diff(owner)) + 1)
    return np.concatenate([np.tile(run, times[run[0]]) for run in runs])


def _check_kept(plan: Plan, sizes: Mapping[str, int]) -> None:
    for name, channels in plan.kept.items():
        if not channels:
            raise PlanError(f"Plan keeps no channel of {name!r}; keep at least one.")
        ordered = sorted(set(channels))
        if list(channels) != ordered or ordered[0] < 0 or ordered[-1] >= sizes[name]:
            message = (
                f"Plan for {name!r} must list rising channel numbers from 0 to "
                f"{sizes[name] - 1} without repeats, found {list(channels)[:8]!r}."
            )
            raise PlanError(message)


def _check_copies(graph: ChannelGraph, plan: Plan, sizes: Mapping[str, int]) -> None:
    for name, channels in plan.copies.items():
        stays = plan.kept.get(name, range(sizes[name]))
        if gone := sorted(set(channels) - set(stays)):
            message = f"Plan copies channels of {name!r} that do not stay: {gone[:8]}."
            raise PlanError(message)
        if graph.group(name).approximate:
            message = (
                f"Plan widens {name!r}, which cannot be done without a change: "
                f"{graph.group(name).approximate}."
            )
            raise PlanError(message)
