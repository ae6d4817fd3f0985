"""From zeros to a smaller network: channels that do nothing are removed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgeprune.graph.channels import Channels
from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.graph.hooked_run import Reading, run_with_hooks
from edgeprune.records import Plan

BATCHES = 2  # of data, to see that what has no weights is zero indeed


def zero_channels(model: nn.Module, channels: Channels) -> Tensor:
    """Whether all that makes a channel is zero, or all that reads it; (channels,)."""
    made, read = _zeros(model, channels)
    return made | read


def plan_of_zeros(
    model: nn.Module, graph: ChannelGraph, batches: Iterable[tuple[Tensor, Tensor]]
) -> Plan:
    """A plan that removes the channels that are zero throughout, and no others.

    These are read by zero weights only, or made by zero weights only and zero where
    they are read, for samples of the data: a sigmoid makes something of zero. One
    channel of each group stays.
    """
    channels = Channels(model, graph.groups)
    made, read = _zeros(model, channels)
    silent = _silent(model, graph, channels, batches)
    gone = channels.by_group(read | (made & silent))
    kept: dict[str, tuple[int, ...]] = {}
    for name, dropped in gone.items():
        size = graph.group(name).size
        stays = tuple(index for index in range(size) if index not in {*dropped})
        kept[name] = stays or (0,)
    return Plan({name: stays for name, stays in kept.items() if stays})


def _zeros(model: nn.Module, channels: Channels) -> tuple[Tensor, Tensor]:
    """Whether all that makes a channel is zero, and whether all that reads it is."""
    made, read = (
        (channels.sizes(model, slices) > 0) & (channels.squares(model, slices) == 0)
        for slices in (channels.made, channels.read)
    )
    return made, read


def _silent(
    model: nn.Module,
    graph: ChannelGraph,
    channels: Channels,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> Tensor:
    """Whether a channel is zero in all values that are read, shape (channels,)."""
    found = torch.ones(len(channels), dtype=torch.bool)
    at: dict[Reading, list[tuple[Group, tuple[int, ...], Tensor]]] = {}
    for group in channels.groups:
        for site in graph.sites(group).consumer_inputs():
            place = at.setdefault(site.place, [])
            place.append((group, site.axes, torch.as_tensor(site.channel_of)))

    def see(place: Reading, value: Tensor) -> None:
        for group, axes, channel_of in at[place]:
            others = [axis for axis in range(value.ndim) if axis not in axes]
            loud = value.abs().amax(others) if others else value.abs()
            here = channel_of[(loud.flatten() > 0) & (channel_of >= 0)]
            found[channels.of_group(group).start + here] = False

    with torch.no_grad():
        for (x, _), _ in zip(batches, range(BATCHES), strict=False):
            run_with_hooks(model, graph.traced, x, at, see)
    return found
