"""A plan from principal components: widths by explained variance, depth by growth.

Garg et al., "A Low Effort Approach to Structured CNN Design Using PCA", 2018,
section III. No search and no retraining: one pass over the data decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgeprune.graph.channel_graph import replace_with_identity
from edgeprune.graph.groups import STEP, VECTOR, ChannelGraph, Group
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
    """Find blocks that add no significant dimensions to those before them.

    In a network with residual blocks these are judged, each by the sum behind it
    against those before it on its stage; in any other each convolution against the
    layers before it on its branch.
    """
    significant = {item.name: item.significant(variance) for item in spectra.layers}
    order = {item.name: index for index, item in enumerate(spectra.layers)}
    blocks = [block.name for block in removable_blocks(graph) if block.groups]
    judged = _residual(graph, blocks) if blocks else _chain(graph)
    judged.sort(key=lambda item: max(order[layer] for layer in item.layers))
    removed: list[str] = []
    notes: list[str] = []
    most: dict[str, int] = {}  # dimensions so far, where a branch has come to
    for item in judged:
        before = most.get(item.after, 0)
        dimensions = max(significant[layer] for layer in item.layers)
        most[item.name] = max(before, dimensions)
        if dimensions > before or not item.module:
            continue
        if item.module in graph.identities:
            removed += [item.module, *graph.norms_behind(item.module)]
        else:
            notes.append(
                f"{item.module} adds no dimensions ({dimensions} after {before}) but "
                "stays: what it is given and what it returns have different shapes"
            )
    return Depth(tuple(dict.fromkeys(removed)), tuple(notes))


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
    left = replace_with_identity(graph, depth.removed) if depth.removed else graph
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


@dataclass(frozen=True)
class _Judged:
    """A layer or block that may add dimensions.

    Attributes:
        layers: whose activations tell; seen at the same place, or in the same block.
        module: what would go; empty where nothing can.
        after: the name of what comes before it on its branch.
    """

    name: str
    layers: tuple[str, ...]
    module: str
    after: str


def _chain(graph: ChannelGraph) -> list[_Judged]:
    """Convolutions, each behind the one layer whose channels it reads, if it is one."""
    made = {group.name: list(graph.sites(group).layers()) for group in graph.groups}
    makers = [group for group in graph.groups if len(made[group.name]) == 1]
    found: list[_Judged] = []
    for group in makers:
        (layer,) = made[group.name]
        weight = f"{layer}.weight"
        if (weight, 2) not in graph.axes:
            continue
        read = [item for item in graph.groups if weight in item.layers("input")]
        alone = len(read) == 1 and read[0] in makers
        after = made[read[0].name][0] if alone else ""
        found.append(_Judged(layer, (layer,), layer if after else "", after))
    return found


def _residual(graph: ChannelGraph, blocks: Sequence[str]) -> list[_Judged]:
    """The sums of residual stages, with the innermost block that each is in."""
    found: list[_Judged] = []
    for group in graph.groups:
        sites = graph.sites(group).layers()
        summed: dict[object, list[str]] = {}
        for layer, site in sites.items() if len(sites) > 1 else ():
            around = [block for block in blocks if inside(layer, (block,))]
            block = max(around, key=len, default="")
            summed.setdefault(block or site.place, []).append(layer)
        for place, layers in summed.items():
            block = place if isinstance(place, str) else ""
            found.append(_Judged(group.name, tuple(layers), block, group.name))
    return found
