"""Channel groups: what a network lets a planner shrink, and what it refuses and why.

`analyse` traces a model, runs it over labels and collects the labels into channels
(what must go together) and groups (channels that live on the same parameter axes).
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import fx, nn

from edgeprune.graph.labels import Factor, Frozen, LabelArray, Labels, Ledger
from edgeprune.graph.rules import Call, Role, operator_name, result_shape, rule_for
from edgeprune.graph.rules.call import bound_arguments
from edgeprune.graph.trace import Inputs, Trace, trace
from edgeprune.records import RefusedGroup

Axis = tuple[str, int]  # dotted parameter path, axis


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
    """

    name: str
    size: int
    members: tuple[Member, ...]

    @property
    def granularity(self) -> int:
        """How many output positions one channel spans on its producer."""
        spans = [item for item in self.members if item.role == "output"]
        spans = spans or list(self.members)
        return max(1, int((spans[0].channel_of >= 0).sum()) // self.size)


@dataclass(frozen=True)
class ChannelGraph:
    """What the labels say of one network.

    Attributes:
        inputs: the example inputs that it was traced with.
        axes: the channel (class of labels) at each index of each parameter axis.
        frozen: channels that cannot go.
        channels: how many classes there are.
        choices: decisions of rules, to be repeated on a pruned network.
    """

    inputs: Inputs
    axes: dict[Axis, LabelArray]
    roles: dict[Axis, Role]
    frozen: frozenset[int]
    channels: int
    choices: dict[str, str]
    groups: tuple[Group, ...]
    refusals: tuple[RefusedGroup, ...]

    def group(self, name: str) -> Group:
        """The group of this name; KeyError if there is none."""
        return {group.name: group for group in self.groups}[name]


@dataclass
class Labelling:
    """One run of a traced network over labels."""

    ledger: Ledger
    axes: dict[Axis, LabelArray] = field(default_factory=dict)
    roles: dict[Axis, Role] = field(default_factory=dict)


def label(traced: Trace, ledger: Ledger) -> Labelling:
    """Run a network over labels."""
    run = Labelling(ledger)
    values: dict[fx.Node, Any] = {}
    for node in traced.nodes:
        if node.op == "placeholder":
            values[node] = _placeholder(run, traced, node)
        elif node.op == "call_function":
            values[node] = _call(run, traced, node, values)
        elif node.op == "output":
            frozen = Frozen("output of the network")
            for source in node.all_input_nodes:
                ledger.freeze_all(values[source], frozen)
    return run


def _placeholder(run: Labelling, traced: Trace, node: fx.Node) -> Labels:
    """Fresh labels for every axis of a parameter; none for an input."""
    shape = result_shape(node)
    path = traced.owners.get(node.name)
    if path is None or not node.users:
        return Labels(shape)
    factors: list[Factor] = []
    for axis, size in enumerate(shape):
        labels = run.axes[path, axis] = run.ledger.fresh(size)
        factors.append(Factor.lying(labels, len(shape), axis))
    return Labels(shape, tuple(factors))


def _call(
    run: Labelling, traced: Trace, node: fx.Node, values: Mapping[fx.Node, Any]
) -> Any:
    if node.target is operator.getitem:
        return values[node.args[0]][node.args[1]]  # type: ignore[index]
    arguments = {
        name: fx.map_arg(value, lambda item: values[item])
        for name, value in bound_arguments(node).items()
    }
    shape = result_shape(node)
    call = Call(run.ledger, node, arguments, shape, traced.owners, run.roles)
    if not any(tensor.factors for tensor in call.tensors()):
        return call.refuse()  # nothing to freeze: as many results as it has
    return rule_for(operator_name(node))(call)


def analyse(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """The channels and groups of a model, as the trace shows them.

    Raises:
        TraceError: the model cannot be traced.
    """
    traced = trace(model, inputs)
    run = label(traced, Ledger())
    classes = run.ledger.classes()
    axes = {axis: classes[labels] for axis, labels in run.axes.items()}
    reasons: dict[int, str] = {}
    for labels, frozen in run.ledger.frozen:
        for channel in np.unique(classes[labels]).tolist():
            reasons[channel] = reasons.get(channel) or frozen.reason
    homes = _homes(axes)
    return ChannelGraph(
        inputs=inputs,
        axes=axes,
        roles=run.roles,
        frozen=frozenset(reasons),
        channels=int(classes.max(initial=-1)) + 1,
        choices=run.ledger.choices,
        groups=_groups(homes, axes, run.roles, reasons),
        refusals=_refusals(homes, axes, run.roles, reasons),
    )


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
    more = [RefusedGroup(item.name, item.size, reasons[item.name]) for item in refused]
    return replace(
        graph,
        frozen=graph.frozen | channels,
        groups=tuple(item for item in graph.groups if item.name not in reasons),
        refusals=(*graph.refusals, *more),
    )


Homes = dict[tuple[Axis, ...], list[int]]


def _homes(axes: Mapping[Axis, LabelArray]) -> Homes:
    """Channels by the set of parameter axes that they live on, in network order."""
    lives_on: defaultdict[int, list[Axis]] = defaultdict(list)
    for axis, channels in axes.items():
        for channel in dict.fromkeys(channels.tolist()):
            lives_on[channel].append(axis)
    homes: defaultdict[tuple[Axis, ...], list[int]] = defaultdict(list)
    for channel, found in lives_on.items():
        homes[tuple(found)].append(channel)
    return dict(homes)


def _name(home: tuple[Axis, ...], roles: Mapping[Axis, Role]) -> str:
    producers = [axis for axis in home if roles.get(axis) == "output"] or list(home)
    return producers[0][0].rpartition(".")[0] or producers[0][0]


def _groups(
    homes: Homes,
    axes: Mapping[Axis, LabelArray],
    roles: Mapping[Axis, Role],
    reasons: Mapping[int, str],
) -> tuple[Group, ...]:
    groups: list[Group] = []
    taken: defaultdict[str, int] = defaultdict(int)
    for home, found in homes.items():
        channels = [channel for channel in found if channel not in reasons]
        if len(channels) < 2:
            continue
        name = _name(home, roles)
        taken[name] += 1
        number = {channel: index for index, channel in enumerate(channels)}
        members = tuple(
            Member(
                parameter=axis[0],
                axis=axis[1],
                role=roles.get(axis),
                channel_of=np.array(
                    [number.get(channel, -1) for channel in axes[axis].tolist()]
                ),
            )
            for axis in home
        )
        suffix = f"#{taken[name]}" if taken[name] > 1 else ""
        groups.append(Group(name + suffix, len(channels), members))
    return tuple(groups)


def _refusals(
    homes: Homes,
    axes: Mapping[Axis, LabelArray],
    roles: Mapping[Axis, Role],
    reasons: Mapping[int, str],
) -> tuple[RefusedGroup, ...]:
    """What is worth telling: not the input's own channels, nor axes of length 1."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for home, channels in homes.items():
        single = all(len(axes[axis]) == 1 for axis in home)
        if single or all(roles.get(axis) == "input" for axis in home):
            continue
        for channel in channels:
            if reasons.get(channel):
                counts[_name(home, roles), reasons[channel]] += 1
    return tuple(
        RefusedGroup(name, count, reason) for (name, reason), count in counts.items()
    )
