"""Where in a running network a group's channels can be seen.

Weights say what a channel is made of; what it does shows in the values that operators
are given. A site is one such place: an operator and one of the values that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import fx

from edgeprune.graph.labelling import Labelling
from edgeprune.graph.labels import Axis, Factor, LabelArray, Labels
from edgeprune.graph.operators import operator_of
from edgeprune.graph.rules import result_shape
from edgeprune.graph.trace import Trace


@dataclass(frozen=True)
class Uses:
    """Which operators make channels, carry them and read them.

    Attributes:
        channels: the channels (classes of labels) in each result that depends on what
            the network is given.
        made: the operators that make channels, by the weight's axis.
        read: the operators that sum over channels, by the weight's axis; under None
            where both factors are such results.
        owners: the paths of parameters and buffers by the names of their placeholders.
    """

    channels: Mapping[fx.Node, tuple[Factor, ...]]
    made: Mapping[Axis | None, list[fx.Node]]
    read: Mapping[Axis | None, list[fx.Node]]
    owners: Mapping[str, str]

    def norms_behind(self, weight: str) -> tuple[str, ...]:
        """The batch norms that alone are given what a layer makes, as modules."""
        found: list[str] = []
        for node in self.made.get((weight, 0), []):
            user = next(iter(node.users)) if len(node.users) == 1 else None
            if user is not None and operator_of(user).batch_norm:
                paths = [self.owners.get(item.name) for item in user.all_input_nodes]
                found += [path.rpartition(".")[0] for path in paths if path][:1]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class Site:
    """One value that an operator reads.

    Attributes:
        reader: the operator.
        value: what made the value.
        axes: the value's axes along which channels lie, rising.
        channel_of: for each position along these axes, in their order, the channel
            of a group; -1 for none of it.
    """

    reader: fx.Node
    value: fx.Node
    axes: tuple[int, ...]
    channel_of: LabelArray

    @property
    def place(self) -> tuple[fx.Node, fx.Node]:
        """The same for all groups that can be seen there."""
        return self.reader, self.value


def uses_of(run: Labelling, traced: Trace, classes: LabelArray) -> Uses:
    """Where the channels of a labelled network are at work."""
    first = {int(labels[0]): axis for axis, labels in run.axes.items() if len(labels)}
    made: dict[Axis | None, list[fx.Node]] = {}
    read: dict[Axis | None, list[fx.Node]] = {}
    for claim in run.constraints.axis_uses:
        axis = first.get(int(claim.labels[0])) if len(claim.labels) else None
        found = read if claim.role == "input" else made
        found.setdefault(axis, []).append(claim.node)
    channels: dict[fx.Node, tuple[Factor, ...]] = {}
    for node in _dynamic(traced):
        value = run.values.get(node)
        if isinstance(value, Labels):
            channels[node] = tuple(
                Factor(classes[factor.labels], factor.axes) for factor in value.factors
            )
    return Uses(channels, made, read, traced.owners)


def _dynamic(traced: Trace) -> set[fx.Node]:
    """The results that depend on what the network is given."""
    found: set[fx.Node] = set()
    for node in traced.nodes:
        given = node.op == "placeholder" and node.name not in traced.owners
        if given or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


class SiteFinder:
    """Finds the sites of a group.

    Args:
        number: of each channel (class of labels) that belongs to the group.
        axes: the axes of parameters that the group lives on.
    """

    def __init__(
        self, uses: Uses, number: Mapping[int, int], axes: Iterable[Axis]
    ) -> None:
        self._uses, self._number, self._axes = uses, number, tuple(axes)

    def consumer_inputs(self) -> list[Site]:
        """Where weighted operators read the channels.

        Channels that none reads are seen where any operator first does.
        """
        found = self._at(node for axis in self._axes for node in self._read(axis))
        found = found or self._at(self._read(None))[:1]
        return found or self._at(user for node in self._makers() for user in node.users)

    def layers(self) -> dict[str, Site]:
        """By layer that makes the channels, what the non-linearity behind it is given.

        Behind a residual layer that is given the sum. Where no non-linearity comes
        before the channels are read, it is what is read. Layers that only make a gate,
        as in squeeze-and-excite, are left out.
        """
        found: dict[str, Site] = {}
        for axis in self._axes:
            for node in self._uses.made.get(axis, []):
                if self._passed_on(node) or self._gates(node):
                    continue
                site = self._ahead(node, pooled=False) or self._ahead(node, pooled=True)
                if site is not None:
                    found.setdefault(axis[0].rpartition(".")[0] or axis[0], site)
        return found

    def preactivations(self) -> list[Site]:
        """Return each site of `layers` once; without any, the consumer inputs."""
        found = {site.place: site for site in self.layers().values()}
        return list(found.values()) or self.consumer_inputs()

    def _read(self, axis: Axis | None) -> list[fx.Node]:
        return self._uses.read.get(axis, [])

    def _makers(self) -> list[fx.Node]:
        """The operators that make the channels."""
        return [node for axis in self._axes for node in self._uses.made.get(axis, [])]

    def _passed_on(self, node: fx.Node) -> bool:
        """Whether an operator only passes channels on, as a depthwise layer does."""
        carried = any(self._carries(source) for source in node.all_input_nodes)
        return carried and node not in self._readers()

    def _ahead(self, maker: fx.Node, *, pooled: bool) -> Site | None:
        """Where the channels are first given to a non-linearity or read.

        Args:
            pooled: follow what was averaged over all positions, too.
        """
        readers = self._readers()
        for node, source in self._carriers(maker, pooled=pooled):
            if operator_of(node).nonlinear or node in readers:
                return next(iter(self._sites(node, source)), None)
        return None

    def _gates(self, maker: fx.Node) -> bool:
        """Whether what a layer makes only scales larger values of the same channels."""
        small = self._positions(maker)
        return any(
            operator_of(node).scales
            and any(
                other is not source
                and self._carries(other)
                and small < self._positions(other)
                for other in node.all_input_nodes
            )
            for node, source in self._carriers(maker, pooled=True)
        )

    def _carriers(
        self, maker: fx.Node, *, pooled: bool
    ) -> Iterator[tuple[fx.Node, fx.Node]]:
        """Operators that a layer's channels reach before they are read, in order.

        With each the value that it is given. What is made of a read value is beyond.
        """
        readers, single = self._readers(), self._positions(maker) == 1
        reached, node = {maker}, maker.next
        while node.op != "root":
            sources = [item for item in node.all_input_nodes if item in reached]
            if sources:
                yield node, sources[0]
                whole = pooled or single or self._positions(node) > 1
                if node not in readers and self._carries(node) and whole:
                    reached.add(node)
            node = node.next

    def _positions(self, node: fx.Node) -> int:
        """How many numbers of a sample belong to each channel."""
        factors = self._uses.channels.get(node, ())
        channels = {0}.union(*(factor.axes for factor in factors))
        shape = enumerate(result_shape(node))
        return math.prod(size for axis, size in shape if axis not in channels)

    def _readers(self) -> set[fx.Node]:
        return {node for axis in self._axes for node in self._read(axis)}

    def _carries(self, node: fx.Node) -> bool:
        return any(
            int(channel) in self._number
            for factor in self._uses.channels.get(node, ())
            for channel in factor.labels.ravel()
        )

    def _at(self, nodes: Iterable[fx.Node]) -> list[Site]:
        """The first value of each operator that carries the channels."""
        found: list[Site] = []
        for node in dict.fromkeys(nodes):
            sites = (
                site
                for source in node.all_input_nodes
                for site in self._sites(node, source)
            )
            found += [site] if (site := next(sites, None)) else []
        return found

    def _sites(self, reader: fx.Node, value: fx.Node) -> list[Site]:
        found: list[Site] = []
        for factor in self._uses.channels.get(value, ()):
            flat = factor.labels.ravel()
            channel_of = np.array([self._number.get(int(item), -1) for item in flat])
            if (channel_of >= 0).any():
                found.append(
                    Site(reader, value, tuple(sorted(factor.axes)), channel_of)
                )
        return found
