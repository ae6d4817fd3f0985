"""A plan from principal components: widths by explained variance, depth by growth.

Garg et al., "A Low Effort Approach to Structured CNN Design Using PCA", 2018,
section III. No search and no retraining: one pass over the data decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgeprune.graph.groups import STEP, VECTOR, ChannelGraph, Group, bypass
from edgeprune.prune.blocks import removable_blocks
from edgeprune.records import Plan, Spectra
from edgeprune.records.surgery import inside

VARIANCE = 0.999  # explained, as in the paper
# Shares to try for a budget, from little to nearly all: 1 - 10^(-k/8).
VARIANCES = tuple(1 - 10 ** (-k / 8) for k in range(1, 41))


@dataclass(frozen=True)
class Depth:
    """Which layers or blocks go.

    Attributes:
        removed: modules that do not add dimensions, with the norms behind them.
        notes: on those that would go and cannot.
    """

    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def depth_by_growth(graph: ChannelGraph, spectra: Spectra, variance: float) -> Depth:
    """What goes because its significant dimensions do not exceed those before it.

    In a network with residual blocks these are judged, each by the sum behind it
    against the one before it; in any other each convolution against the last one that
    stays.
    """
    significant = {item.name: item.significant(variance) for item in spectra.layers}
    blocks = [block.name for block in removable_blocks(graph) if block.groups]
    judged = _residual(graph, blocks) if blocks else _chain(graph)
    order = {item.name: index for index, item in enumerate(spectra.layers)}
    removed: list[str] = []
    notes: list[str] = []
    largest: dict[str, int] = {}
    for chain, layer, module in sorted(judged, key=lambda item: order[item[1]]):
        before, dimensions = largest.get(chain, 0), significant[layer]
        if dimensions > before:
            largest[chain] = dimensions
        elif module in graph.identities:
            removed += [module, *graph.norms_behind(module)]
        elif module:
            notes.append(
                f"{module} adds no dimensions ({dimensions} after {before}) but stays: "
                "what it is given and what it returns have different shapes"
            )
    return Depth(tuple(removed), tuple(notes))


def widths_by_variance(
    graph: ChannelGraph, spectra: Spectra, variance: float
) -> dict[str, int]:
    """As many channels as there are significant dimensions.

    Up to the next width that runtimes compute anyway: a multiple of 8, or 4.
    """
    dimensions = {item.name: item.significant(variance) for item in spectra.groups}
    return {
        group.name: _rounded(group, dimensions[group.name])
        for group in graph.groups
        if group.name in dimensions
    }


def plan_by_variance(
    graph: ChannelGraph,
    spectra: Spectra,
    scores: Mapping[str, Tensor],
    variance: float,
    depth: Depth,
) -> Plan:
    """The channels with the largest scores at each width, without what depth removes.

    Args:
        scores: by group, shape (channels,).
    """
    left = bypass(graph, depth.removed) if depth.removed else graph
    widths = widths_by_variance(left, spectra, variance)
    kept = {
        name: left.group(name).best(scores[name], width)
        for name, width in widths.items()
        if width < left.group(name).size
    }
    return Plan(kept, depth.removed)


def _rounded(group: Group, dimensions: int) -> int:
    positions = dimensions * group.granularity
    unit = VECTOR if positions <= VECTOR else STEP
    step = max(1, unit // group.granularity)
    return min(group.size, -(-dimensions // step) * step)


Judged = Iterator[tuple[str, str, str]]  # chain, layer, module that could go


def _chain(graph: ChannelGraph) -> Judged:
    """Convolutions one behind the other, where no sum joins them."""
    for group in graph.groups:
        layers = list(graph.points(group).layers())
        if len(layers) == 1 and (f"{layers[0]}.weight", 2) in graph.axes:
            yield "", layers[0], layers[0]


def _residual(graph: ChannelGraph, blocks: Sequence[str]) -> Judged:
    """The layers that add to a residual stage, with the block that each is in."""
    for group in graph.groups:
        layers = list(graph.points(group).layers())
        for layer in layers if len(layers) > 1 else ():
            around = (block for block in blocks if inside(layer, (block,)))
            yield group.name, layer, next(around, "")
