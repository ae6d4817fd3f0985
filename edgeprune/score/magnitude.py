"""Norms of the weights that make a channel."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.context import Context, mean_over_filters, producers


def l1(context: Context) -> dict[str, Tensor]:
    """Sum of absolute weights of the filters behind each channel.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1. A
    channel that several layers make (a residual sum) gets the mean over its filters.
    """
    return {
        group.name: mean_over_filters(
            context, producers(group), group.size, lambda rows: rows.abs().sum(1)
        )
        for group in context.graph.groups
    }


def l2(context: Context) -> dict[str, Tensor]:
    """Euclidean norm of the filters behind each channel; mean over its filters."""
    return {
        group.name: mean_over_filters(context, producers(group), group.size, _norms)
        for group in context.graph.groups
    }


def _norms(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1)
