"""Which groups can get wider, and what a network gains with each channel more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import bisected
from edgeprune.graph.surgery import apply
from edgeprune.graph.trace import tensors_in
from edgeprune.prune.loss import Loss
from edgeprune.prune.widths import Steps
from edgeprune.records import Plan

SAME = 1000  # times the rounding of the largest output: sums in another order


def widened(model: nn.Module, graph: ChannelGraph) -> tuple[nn.Module, tuple[str, ...]]:
    """A network twice as wide in every group that can be, and these groups.

    Widening is tried: where a copy of a channel would change what is computed, as in
    an attention head's scores, the group is left as it is.
    """
    names = [group.name for group in graph.groups if not group.approximate]
    able = _able(model, graph, names)
    return apply(model, graph, doubled(graph, able)), tuple(able)


def doubled(graph: ChannelGraph, names: Sequence[str]) -> Plan:
    """Each channel of some groups twice."""
    copies = {name: tuple(range(graph.group(name).size)) for name in names}
    return Plan({}, copies=copies)


def _able(model: nn.Module, graph: ChannelGraph, names: Sequence[str]) -> list[str]:
    """Those of some groups that can be doubled together."""

    def works(some: Sequence[str]) -> bool:
        return _doubles(model, graph, some)

    able = bisected(names, works)
    return able if len(able) == len(names) or works(able) else []


def _doubles(model: nn.Module, graph: ChannelGraph, names: Sequence[str]) -> bool:
    """Whether doubling groups leaves what is computed as it is."""
    try:
        wide = apply(model, graph, doubled(graph, names))
    except PlanError:
        return False
    with evaluating(model), evaluating(wide), torch.no_grad():
        pairs = zip(
            tensors_in(model(*graph.inputs)),
            tensors_in(wide(*graph.inputs)),
            strict=True,
        )
        return all(
            float((one - other).abs().max())
            <= SAME * torch.finfo(one.dtype).eps * float(one.abs().max())
            for one, other in pairs
        )


def gains(loss: Loss, sizes: Mapping[str, int], able: Sequence[str]) -> Loss:
    """Losses of narrower groups, and of wider ones what is gained, below 0.

    A group that loses much with its last channels is short of them. Its loss is taken
    to fall with the logarithm of its width beyond the measured widths as it did in
    the last octave within: an estimate, which only orders the groups.
    """
    found: dict[str, Sequence[float]] = {}
    for name, losses in loss.widths.items():
        size = sizes[name]
        half = max(1, size // 2)
        slope = losses[half] / math.log(size / half) if size > 1 else 0.0
        most = 2 * size if name in able else size
        more = [-slope * math.log(width / size) for width in range(size + 1, most + 1)]
        found[name] = [*losses, *more]
    return Loss(found, loss.blocks)


def steps_up(graph: ChannelGraph, wide: ChannelGraph, *, down: bool) -> Steps:
    """The widths to choose from, from a network's graph and that of its widened copy.

    Args:
        down: narrower ones, too.
    """
    found: dict[str, list[int]] = {}
    for group in graph.groups:
        widths = {*wide.group(group.name).widths(), group.size}
        found[group.name] = sorted(
            width for width in widths if down or width >= group.size
        )
    return found
