"""Builds the channel graph of a network.

A network is traced and run over labels; the labels are collected into channels (what
must go together) and groups (channels that live on the same parameter axes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np
from torch import fx, nn

from edgeprune.graph.groups import ChannelGraph, Group, Member, refuse_groups
from edgeprune.graph.labelling import Labelling, is_inside, label
from edgeprune.graph.labels import (
    Axis,
    ConstraintStore,
    LabelArray,
    Labels,
    Reasons,
    Role,
)
from edgeprune.graph.sites import uses_of
from edgeprune.graph.trace import Inputs, Trace, trace
from edgeprune.records import RefusedGroup

KEPT = 8  # graphs that are left without some modules, of each network
Homes = dict[tuple[Axis, ...], list[int]]  # channels by the axes that they live on


def build_channel_graph(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """The channels and groups of a model, as the trace shows them.

    Raises:
        TraceError: the model cannot be traced.
    """
    traced = trace(model, inputs)
    return _channel_graph(traced, inputs, ())


def replace_with_identity(
    graph: ChannelGraph, modules: Collection[str]
) -> ChannelGraph:
    """The channels and groups that are left when modules become an identity."""
    key, kept = tuple(modules), graph.without
    if key not in kept:
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)))
        left = _channel_graph(graph.traced, graph.inputs, key)
        known = {item.name: item.reason for item in graph.refusals}
        reasons = {
            group.name: known[group.name]
            for group in left.groups
            if group.name in known
        }
        kept[key] = refuse_groups(left, reasons) if reasons else left
    return kept[key]


def _channel_graph(
    traced: Trace, inputs: Inputs, bypassed: tuple[str, ...]
) -> ChannelGraph:
    run = label(traced, ConstraintStore(), bypassed)
    classes = run.constraints.classes()
    axes = {axis: classes[labels] for axis, labels in run.axes.items()}
    roles = _roles(run)
    reasons = _by_channel(run.constraints.frozen, classes)
    homes = _homes(axes)
    return ChannelGraph(
        inputs=inputs,
        traced=traced,
        axes=axes,
        frozen=frozenset(reasons),
        channels=int(classes.max(initial=-1)) + 1,
        choices=run.constraints.choices,
        follows=tuple((path, classes[rows]) for path, rows in run.constraints.follows),
        groups=_groups(
            homes,
            axes,
            roles,
            reasons,
            _by_channel(_approximate(run, classes), classes),
        ),
        refusals=_refusals(homes, roles, reasons),
        uses=uses_of(run, traced, classes),
        bypassed=bypassed,
        identities=_identities(traced, bypassed),
    )


def _roles(run: Labelling) -> dict[Axis, Role]:
    """Find the role of each parameter axis, as weighted layers claimed it."""
    claimed: dict[int, Role] = {}
    for claim in run.constraints.axis_uses:
        if len(claim.labels):
            claimed.setdefault(int(claim.labels[0]), claim.role)
    return {
        axis: claimed[int(labels[0])]
        for axis, labels in run.axes.items()
        if len(labels) and int(labels[0]) in claimed
    }


def _approximate(run: Labelling, classes: LabelArray) -> Reasons:
    """Channels whose removal changes the others, by what rules said of them.

    A sum over weights alone matters where their channels are those of an activation.
    """
    if not run.constraints.summed:
        return run.constraints.approximate
    labels = [
        factor.labels.ravel()
        for node in run.fed
        if isinstance(value := run.values.get(node), Labels)
        for factor in value.factors
    ]
    active = classes[np.concatenate([np.zeros(0, dtype=np.int64), *labels])]
    return run.constraints.approximate + [
        (summed[np.isin(classes[summed], active)], reason)
        for summed, reason in run.constraints.summed
    ]


def _by_channel(remarks: Reasons, classes: LabelArray) -> dict[int, str]:
    """The first reason that is not silent, for each channel that has any."""
    reasons: dict[int, str] = {}
    for labels, reason in remarks:
        for channel in dict.fromkeys(classes[labels].tolist()):
            reasons[channel] = reasons.get(channel) or reason.text
    return reasons


def _identities(traced: Trace, bypassed: Collection[str]) -> tuple[str, ...]:
    """Modules that could be an identity: the code does without them."""
    order = {node: index for index, node in enumerate(traced.nodes)}
    users: dict[str, list[fx.Node]] = {}
    for node in traced.graph.find_nodes(op="placeholder"):
        path = traced.owners.get(node.name)
        if path in traced.parameters:
            users[path] = list(node.users)
    found: list[str] = []
    for module, visits in traced.visits.items():
        own = [path for path in users if path.startswith(f"{module}.")]
        if (
            module not in bypassed
            and all(visit.left not in (None, visit.entered) for visit in visits)
            and all(
                is_inside(order, user, visits) for path in own for user in users[path]
            )
        ):
            found.append(module)
    return tuple(found)


def _homes(axes: Mapping[Axis, LabelArray]) -> Homes:
    """Channels by the set of parameter axes that they live on, in network order."""
    names = list(axes)
    pairs = [
        channels * len(names) + index for index, channels in enumerate(axes.values())
    ]
    ordered = np.sort(np.concatenate(pairs or [np.zeros(0, dtype=np.int64)]))
    ordered = ordered[np.diff(ordered, prepend=-1) != 0]
    channel, axis = np.divmod(ordered, max(len(names), 1))
    starts = np.flatnonzero(np.diff(channel, prepend=-1))
    homes: defaultdict[bytes, list[int]] = defaultdict(list)
    found: dict[bytes, LabelArray] = {}
    for start, end in pairwise([*starts.tolist(), len(channel)]):
        lives_on = axis[start:end]
        key = lives_on.tobytes()
        found[key] = lives_on
        homes[key].append(int(channel[start]))
    return {
        tuple(names[index] for index in found[key].tolist()): channels
        for key, channels in homes.items()
    }


def _name(home: tuple[Axis, ...], roles: Mapping[Axis, Role]) -> str:
    producers = [axis for axis in home if roles.get(axis) == "output"] or list(home)
    return producers[0][0].rpartition(".")[0] or producers[0][0]


def _groups(
    homes: Homes,
    axes: Mapping[Axis, LabelArray],
    roles: Mapping[Axis, Role],
    reasons: Mapping[int, str],
    approximate: Mapping[int, str],
) -> tuple[Group, ...]:
    groups: list[Group] = []
    number = np.full(1 + max(map(max, axes.values()), default=0), -1)
    taken: defaultdict[str, int] = defaultdict(int)
    for home, found in homes.items():
        channels = [channel for channel in found if channel not in reasons]
        if len(channels) < 2:
            continue
        name = _name(home, roles)
        taken[name] += 1
        number[channels] = np.arange(len(channels))
        members = tuple(
            Member(
                parameter=axis[0],
                axis=axis[1],
                role=roles.get(axis),
                channel_of=number[axes[axis]],
            )
            for axis in home
        )
        number[channels] = -1
        suffix = f"#{taken[name]}" if taken[name] > 1 else ""
        why = next((approximate[item] for item in channels if item in approximate), "")
        groups.append(Group(name + suffix, len(channels), members, why))
    return tuple(groups)


def _refusals(
    homes: Homes, roles: Mapping[Axis, Role], reasons: Mapping[int, str]
) -> tuple[RefusedGroup, ...]:
    """Collect the refusals worth telling: of channels that some layer makes."""
    counts: defaultdict[tuple[tuple[str, ...], str], int] = defaultdict(int)
    names: dict[tuple[str, ...], str] = {}
    for home, channels in homes.items():
        layers = tuple(axis[0] for axis in home if roles.get(axis) == "output")
        if not layers:
            continue
        names[layers] = _name(home, roles)
        for channel in channels:
            if reasons.get(channel):
                counts[layers, reasons[channel]] += 1
    return tuple(
        RefusedGroup(names[layers], count, reason, layers)
        for (layers, reason), count in counts.items()
    )
