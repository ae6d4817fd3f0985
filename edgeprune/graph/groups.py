"""Channel groups: what a network lets a planner shrink, and what it refuses and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edgeprune.graph.labels import Axis, LabelArray, Role
from edgeprune.graph.sites import SiteFinder, Uses
from edgeprune.graph.sizes import Path
from edgeprune.graph.trace import Inputs, Trace
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
    """The channels of one network, and the groups that they form.

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
        without: the graphs that were lately asked for, by the modules left out.
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
    without: dict[tuple[str, ...], ChannelGraph] = field(
        default_factory=dict[tuple[str, ...], "ChannelGraph"],
        init=False,
        repr=False,
        compare=False,
    )

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

    def sites(self, group: Group) -> SiteFinder:
        """Where the channels of a group, or of a part of one, can be seen."""
        number: dict[int, int] = {}
        for member in group.members:
            here = member.channel_of >= 0
            classes = self.axes[member.parameter, member.axis][here]
            channels = member.channel_of[here]
            number |= dict(zip(classes.tolist(), channels.tolist(), strict=True))
        axes = [(member.parameter, member.axis) for member in group.members]
        return SiteFinder(self.uses, number, axes)


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
