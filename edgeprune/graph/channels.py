"""Every channel of a network with the slices of parameters that it is made of.

Methods that work on all channels at once see them as numbers in one row: group by
group, in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from edgeprune.graph.groups import Group

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Slices:
    """The slices of one parameter along an axis.

    Attributes:
        channel_of: for each index of the axis its channel, of all; -1 for none.
    """

    parameter: str
    axis: int
    channel_of: Tensor

    def spread(self, values: Tensor, ndim: int, other: float) -> Tensor:
        """Values of channels, brought to the axis of a parameter that broadcasts.

        Args:
            values: shape (channels,).
            other: for indices without a channel.
        """
        found = values[self.channel_of.clamp_min(0)]
        found = torch.where(self.channel_of >= 0, found, other)
        return found.reshape([-1 if axis == self.axis else 1 for axis in range(ndim)])

    def summed(self, values: Tensor, count: int) -> Tensor:
        """Sums over the slices of each channel, shape (count,).

        Args:
            values: of the parameter's shape.
        """
        others = [axis for axis in range(values.ndim) if axis != self.axis]
        each = values.sum(others) if others else values
        here = self.channel_of >= 0
        found = torch.zeros(count, dtype=values.dtype)
        return found.index_add_(0, self.channel_of[here], each[here])


def trained(model: nn.Module, slices: Iterable[Slices]) -> list[Slices]:
    """Those of parameters that are trained."""
    tensors = dict(model.named_parameters())
    return [item for item in slices if tensors[item.parameter].requires_grad]


class Channels:
    """The channels of groups, without those whose channels cannot be zero.

    That is where their removal is not exact, and where a weight is a function of other
    parameters, as under weight norm, which divides by their norm.

    Attributes:
        groups: in order.
        group_of: the number of its group for each channel, shape (channels,).
        made: slices that make a channel and go along with it: filters, biases, norms.
        read: slices that sum over a channel.
        scales: those of the slices made that are a batch norm's scale.
    """

    def __init__(self, model: nn.Module, groups: Iterable[Group]) -> None:
        parameters = {name for name, _ in model.named_parameters()}
        self.groups = tuple(group for group in groups if _plain(group))
        sizes = [group.size for group in self.groups]
        ends = list(accumulate(sizes))
        self._places = {
            group.name: slice(end - group.size, end)
            for group, end in zip(self.groups, ends, strict=True)
        }
        self.group_of = torch.repeat_interleave(
            torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.long)
        )
        found: dict[tuple[str, int], tuple[bool, Tensor]] = {}
        for group in self.groups:
            start = self.of_group(group).start
            for member in group.members:
                if member.parameter not in parameters:
                    continue
                own = torch.as_tensor(member.channel_of)
                own = torch.where(own >= 0, own + start, -1)
                place = (member.parameter, member.axis)
                reads = member.role == "input"
                before = found[place][1] if place in found else own
                found[place] = reads, torch.maximum(before, own)
        self.made, self.read = (
            tuple(
                Slices(parameter, axis, channel_of)
                for (parameter, axis), (is_read, channel_of) in found.items()
                if is_read == wanted
            )
            for wanted in (False, True)
        )
        norms = {
            f"{path}.weight"
            for path, module in model.named_modules()
            if isinstance(module, BATCH_NORMS)
        }
        self.scales = tuple(item for item in self.made if item.parameter in norms)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.group_of)

    def masks(self, model: nn.Module, zero: Tensor) -> dict[str, Tensor]:
        """By parameter what stays when channels are zero, all that belongs to them.

        Args:
            zero: shape (channels,).
        """
        shapes = {name: item.shape for name, item in model.named_parameters()}
        masks: dict[str, Tensor] = {}
        for item in (*self.made, *self.read):
            shape = shapes[item.parameter]
            stays = item.spread(~zero, len(shape), True).expand(shape)
            before = masks.get(item.parameter)
            masks[item.parameter] = stays.clone() if before is None else before & stays
        return masks

    def squares(self, model: nn.Module, slices: Collection[Slices]) -> Tensor:
        """The sum of squares over slices, shape (channels,)."""
        tensors = dict(model.named_parameters())
        found = torch.zeros(len(self))
        for item in slices:
            found += item.summed(tensors[item.parameter].detach() ** 2, len(self))
        return found

    def sizes(self, model: nn.Module, slices: Collection[Slices]) -> Tensor:
        """How many elements the slices of each channel have, shape (channels,)."""
        tensors = dict(model.named_parameters())
        found = torch.zeros(len(self))
        for item in slices:
            ones = torch.ones_like(tensors[item.parameter])
            found += item.summed(ones, len(self))
        return found

    def best(self, scores: Tensor) -> Tensor:
        """Whether a channel has the largest score of its group, shape (channels,)."""
        found = torch.zeros(len(self), dtype=torch.bool)
        for here in self._places.values():
            found[here.start + int(scores[here].argmax())] = True
        return found

    def of_group(self, group: Group) -> slice:
        """Where a group's channels are in the row."""
        return self._places[group.name]

    def by_group(self, zero: Tensor) -> Mapping[str, tuple[int, ...]]:
        """The numbers of the marked channels within each group that has any."""
        found: dict[str, tuple[int, ...]] = {}
        for group in self.groups:
            here = torch.nonzero(zero[self.of_group(group)]).flatten()
            if len(here):
                found[group.name] = tuple(here.tolist())
        return found


def _plain(group: Group) -> bool:
    """Whether the channels of a group can be zero."""
    return not group.approximate and not any(
        "parametrizations." in member.parameter
        or member.parameter.endswith(("weight_g", "weight_v"))
        for member in group.members
    )
