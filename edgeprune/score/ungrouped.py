"""A proxy without grouped convolutions, for an analysis that needs mixed channels.

The activations of a depthwise layer say nothing of how many of its channels are
needed together: each is read by itself.
"""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import CONVOLUTIONS
from edgeprune.graph.model_copy import copied
from edgeprune.records import Spectra, Spectrum


def ungrouped(model: nn.Module) -> nn.Module | None:
    """A copy whose grouped convolutions are dense, with zeros between the groups.

    None where there is no grouped convolution.

    It computes what the model computes; training fills in the rest. Garg et al., "A
    Low Effort Approach to Structured CNN Design Using PCA", 2018, analyse MobileNet
    in this way.
    """
    dense = copied(model)
    grouped = [
        module
        for module in dense.modules()
        if isinstance(module, CONVOLUTIONS) and module.groups > 1
    ]
    for conv in grouped:
        conv.weight = nn.Parameter(_dense(conv.weight.detach(), conv.groups))
        conv.groups = 1
    return dense if grouped else None


def united(spectra: Spectra, proxy: ChannelGraph, graph: ChannelGraph) -> Spectra:
    """Spectra of a proxy's groups, for the groups of the network that it stands for.

    A group that is several in the proxy, as both sides of a depthwise convolution
    are, needs as many dimensions as the one of them that needs most.
    """
    found = {item.name: item for item in spectra.groups}
    makers = {group.name: set(group.layers("output")) for group in proxy.groups}
    groups: list[Spectrum] = []
    for group in graph.groups:
        layers = set(group.layers("output"))
        parts = [found[name] for name in makers if makers[name] & layers]
        parts = [part for part in parts if part.channels % group.size == 0]
        if parts:
            curves = zip(*(_thinned(part, group.size) for part in parts), strict=True)
            rows = min(part.rows for part in parts)
            groups.append(Spectrum(group.name, rows, tuple(map(min, curves))))
    return Spectra(tuple(groups), spectra.layers, spectra.samples, spectra.seconds)


def _thinned(spectrum: Spectrum, size: int) -> tuple[float, ...]:
    """The curve for channels that span several of the proxy's, one in each group."""
    span = spectrum.channels // size
    return spectrum.explained[span - 1 :: span]


def _dense(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """The weight over all inputs; a transposed one over all outputs."""
    dense = weight.new_zeros(
        weight.shape[0], weight.shape[1] * groups, *weight.shape[2:]
    )
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    for index in range(groups):
        here = slice(index * rows, (index + 1) * rows)
        there = slice(index * columns, (index + 1) * columns)
        dense[here, there] = weight[here]
    return dense
