"""Zeros without surgery: which weights or whole filters go to zero at a share.

Every choice takes what is zero already first, so that shares can rise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgeprune.graph.channels import Channels
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import CONVOLUTIONS, weights_of

Masks = dict[str, Tensor]  # by parameter, of its shape: True stays
Choose = Callable[[nn.Module, float], Masks]


def smallest_weights(model: nn.Module, names: list[str], share: float) -> Masks:
    """The smallest weights of all layers together.

    Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
    2015.
    """
    if not names:
        return {}
    tensors = dict(model.named_parameters())
    sizes = torch.cat([tensors[name].detach().abs().flatten() for name in names])
    count = round(share * len(sizes))
    order = torch.zeros(len(sizes), dtype=torch.bool)
    if count:
        order[sizes.argsort(stable=True)[:count]] = True
    parts = order.split([tensors[name].numel() for name in names])
    return {
        name: ~part.reshape(tensors[name].shape)
        for name, part in zip(names, parts, strict=True)
    }


def weakest_filters(model: nn.Module, channels: Channels, share: float) -> Masks:
    """In each group, the channels whose filters have the smallest l1 norm.

    Li et al., "Pruning Filters for Efficient ConvNets", 2017, section 3.1, over groups:
    with a filter goes all that belongs to its channel. One of each group stays.
    """
    tensors = dict(model.named_parameters())
    norms = torch.zeros(len(channels))
    for item in channels.made:
        if tensors[item.parameter].ndim > 1:
            norms += item.summed(tensors[item.parameter].detach().abs(), len(norms))
    zero = torch.zeros(len(channels), dtype=torch.bool)
    for group in channels.groups:
        here = channels.of_group(group)
        count = min(group.size - 1, round(share * group.size))
        order = norms[here].argsort(stable=True)[:count]
        zero[here.start + order] = True
    return channels.masks(model, zero)


def both(first: Masks, second: Masks) -> Masks:
    """Keep what stays under both of two choices."""
    found = {name: mask.clone() for name, mask in first.items()}
    for name, mask in second.items():
        found[name] = found[name] & mask if name in found else mask
    return found


def zeros_of(model: nn.Module) -> Masks:
    """Return the masks that keep a network as sparse as it is."""
    tensors = dict(model.named_parameters())
    return {name: tensors[name].detach() != 0 for name in weights_of(model)}


def magnitude(model: nn.Module, graph: ChannelGraph) -> Choose:  # noqa: ARG001
    """The smallest of all weights."""
    names = weights_of(model)
    return lambda network, share: smallest_weights(network, names, share)


def l1_mask(model: nn.Module, graph: ChannelGraph) -> Choose:
    """The weakest filters of each group."""
    channels = Channels(model, graph.groups)
    return lambda network, share: weakest_filters(network, channels, share)


def hybrid(model: nn.Module, graph: ChannelGraph) -> Choose:
    """The weakest filters of convolutions, the smallest weights of linear layers."""
    made = set(weights_of(model, *CONVOLUTIONS))
    groups = [item for item in graph.groups if made & {*item.layers("output")}]
    channels = Channels(model, groups)
    names = weights_of(model, nn.Linear)

    def choose(network: nn.Module, share: float) -> Masks:
        filters = weakest_filters(network, channels, share)
        return both(filters, smallest_weights(network, names, share))

    return choose
