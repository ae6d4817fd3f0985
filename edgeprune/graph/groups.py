"""Channel groups: what a network lets a planner shrink, and what it refuses and why.

`analyse` traces a model, runs it over labels and collects the labels into channels
(what must go together) and groups (channels that live on the same parameter axes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from edgeprune.graph.labelling import Labelling, is_inside, label
from edgeprune.graph.labels import Axis, LabelArray, Ledger, Remarks, Role
from edgeprune.graph.points import Finder, Uses, uses_of
from edgeprune.graph.sizes import Path
from edgeprune.graph.trace import Inputs, Trace, trace
from edgeprune.records import RefusedGroup

VECTOR = 4  # positions: the shortest in use
STEP = 8  # positions: two vectors, or one, of every runtime in use
MOST_WIDTHS = 16  # to choose from


@dataclass(frozen=True)
class Member:
    """One parameter axis that a group lives on.

    Attributes:
        role: `input` is summed over by a weighted layer, `output` is what it
            produces; None goes along (bias, batch norm).
        channel_of: for each index of the axis the channel of the group, -1 for none.
    """

    parameter: str
    axis: int
    role: Role | None
    channel_of: LabelArray


@dataclass(frozen=True)
class Group:
    """Channels that live on the same parameter axes: one width to choose.

    Attributes:
        name: the module that produces the channels first.
        size: number of channels.
        approximate: why the removal of a channel changes more than what its
            consumers read of it; empty where it does not.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    approximate: str = ""

    def layers(self, role: Role) -> tuple[str, ...]:
        """The parameters that the group is an input or an output of."""
        return tuple(item.parameter for item in self.members if item.role == role)

    @property
    def granularity(self) -> int:
        """How many output positions one channel spans on its producer."""
        return max(1, self.positions // self.size)

    def widths(self) -> list[int]:
        """Rising widths to choose from, its own last.

        Runtimes compute channels in vectors, so what lies between is not faster:
        multiples of 8 positions, or of 16 and more where these would be many; and 4,
        where little is to be left.
        """
        unit = STEP
        while self.positions // unit > MOST_WIDTHS:
            unit *= 2
        step = max(1, unit // self.granularity)
        narrow = [max(1, VECTOR // self.granularity)]
        if self.size <= 2 * step:
            narrow = [self.size // 4, self.size // 2]
        widths = {*range(step, self.size, step), *narrow, self.size} - {0}
        return sorted(widths)

    def best(self, scores: npt.ArrayLike, width: int) -> tuple[int, ...]:
        """The channels with the largest scores, shape (size,); of equals the first."""
        order = np.argsort(-np.asarray(scores), kind="stable")
        return tuple(sorted(order[:width].tolist()))

    @property
    def positions(self) -> int:
        """Output positions on the producer that belong to the group."""
        spans = [item for item in self.members if item.role == "output"]
        spans = spans or list(self.members)
        return int((spans[0].channel_of >= 0).sum())


@dataclass(frozen=True)
class ChannelGraph:
    """What the labels say of one network.

    Attributes:
        inputs: the example inputs that it was traced with.
        axes: the channel (class of labels) at each index of each parameter axis.
        frozen: channels that cannot go.
        channels: how many classes there are.
        choices: decisions of rules, to be repeated on a pruned network.
        follows: numbers that modules hold, with the channels they count: one row for
            each position.
        uses: where in a run the channels are at work.
        bypassed: modules that are left out.
        identities: modules that could be: what they are given has the shape of what
            they return, and their parameters are read nowhere else.
    """

    inputs: Inputs
    traced: Trace
    axes: dict[Axis, LabelArray]
    frozen: frozenset[int]
    channels: int
    choices: dict[str, str]
    follows: tuple[tuple[Path, LabelArray], ...]
    groups: tuple[Group, ...]
    refusals: tuple[RefusedGroup, ...]
    uses: Uses
    bypassed: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[str, ...]:
        """Those of the identities with a weight of two axes or more."""
        weights = [path for path, axis in self.axes if axis > 0]
        return tuple(
            module
            for module in self.identities
            if any(path.startswith(f"{module}.") for path in weights)
        )

    def norms_behind(self, layer: str) -> tuple[str, ...]:
        """The batch norms that alone are given what a layer makes."""
        return self.uses.norms_behind(f"{layer}.weight")

    def alone(self, layer: str) -> bool:
        """Whether the parameters of a layer are used in its own calls only."""
        own = [
            list(node.users)
            for node in self.traced.graph.find_nodes(op="placeholder")
            if self.traced.owners.get(node.name, "").rpartition(".")[0] == layer
        ]
        calls = self.traced.visits.get(layer, [])
        return bool(own) and all(len(users) == len(calls) for users in own)

    def group(self, name: str) -> Group:
        """The group of this name; KeyError if there is none."""
        return {group.name: group for group in self.groups}[name]

    def points(self, group: Group) -> Finder:
        """Where the channels of a group, or of a part of one, can be seen."""
        number: dict[int, int] = {}
        for member in group.members:
            here = member.channel_of >= 0
            classes = self.axes[member.parameter, member.axis][here]
            channels = member.channel_of[here]
            number |= dict(zip(classes.tolist(), channels.tolist(), strict=True))
        axes = [(member.parameter, member.axis) for member in group.members]
        return Finder(self.uses, number, axes)


def analyse(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """The channels and groups of a model, as the trace shows them.

    Raises:
        TraceError: the model cannot be traced.
    """
    traced = trace(model, inputs)
    return _channel_graph(traced, inputs, ())


def bypass(graph: ChannelGraph, modules: Collection[str]) -> ChannelGraph:
    """The channels and groups that are left when modules become an identity."""
    left = _channel_graph(graph.traced, graph.inputs, tuple(modules))
    known = {item.name: item.reason for item in graph.refusals}
    reasons = {
        group.name: known[group.name] for group in left.groups if group.name in known
    }
    return refuse_groups(left, reasons) if reasons else left


def _channel_graph(
    traced: Trace, inputs: Inputs, bypassed: tuple[str, ...]
) -> ChannelGraph:
    run = label(traced, Ledger(), bypassed)
    classes = run.ledger.classes()
    axes = {axis: classes[labels] for axis, labels in run.axes.items()}
    roles = _roles(run)
    reasons = _by_channel(run.ledger.frozen, classes)
    homes = _homes(axes)
    return ChannelGraph(
        inputs=inputs,
        traced=traced,
        axes=axes,
        frozen=frozenset(reasons),
        channels=int(classes.max(initial=-1)) + 1,
        choices=run.ledger.choices,
        follows=tuple((path, classes[rows]) for path, rows in run.ledger.follows),
        groups=_groups(
            homes, axes, roles, reasons, _by_channel(run.ledger.approximate, classes)
        ),
        refusals=_refusals(homes, roles, reasons),
        uses=uses_of(run, traced, classes),
        bypassed=bypassed,
        identities=_identities(traced, bypassed),
    )


def _roles(run: Labelling) -> dict[Axis, Role]:
    """What each parameter axis is for, as weighted layers claimed it."""
    claimed: dict[int, Role] = {}
    for claim in run.ledger.claims:
        if len(claim.labels):
            claimed.setdefault(int(claim.labels[0]), claim.role)
    return {
        axis: claimed[int(labels[0])]
        for axis, labels in run.axes.items()
        if len(labels) and int(labels[0]) in claimed
    }


def _by_channel(remarks: Remarks, classes: LabelArray) -> dict[int, str]:
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


def refuse_groups(graph: ChannelGraph, reasons: Mapping[str, str]) -> ChannelGraph:
    """The same graph with some groups frozen, for reasons given by their names."""
    refused = [group for group in graph.groups if group.name in reasons]
    channels = {
        channel
        for group in refused
        for member in group.members[:1]
        for channel in graph.axes[member.parameter, member.axis][
            member.channel_of >= 0
        ].tolist()
    }
    more = [
        RefusedGroup(
            item.name, item.positions, reasons[item.name], item.layers("output")
        )
        for item in refused
    ]
    return replace(
        graph,
        frozen=graph.frozen | channels,
        groups=tuple(item for item in graph.groups if item.name not in reasons),
        refusals=(*graph.refusals, *more),
    )


Homes = dict[tuple[Axis, ...], list[int]]


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
    """What is worth telling: the channels that some layer makes."""
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
