"""How far a filter is from the others of its layer."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.context import Context, mean_over_filters, producers


def fpgm(context: Context) -> dict[str, Tensor]:
    """Sum of Euclidean distances to the other filters of the layer.

    He et al., "Filter Pruning via Geometric Median", CVPR 2019, equation 5: a filter
    near the geometric median can be replaced by the others. A channel that several
    layers make gets the mean over its filters.
    """
    return {
        group.name: mean_over_filters(context, producers(group), group.size, _distances)
        for group in context.graph.groups
    }


def _distances(rows: Tensor) -> Tensor:
    """From each row to all rows, shape (rows,)."""
    return torch.cdist(rows, rows).sum(1)
