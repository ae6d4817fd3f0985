"""Norms of the weights that make a channel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgeprune.score.context import Context, producers, sum_by_channel


def l1(context: Context) -> dict[str, Tensor]:
    """Sum of absolute weights of the filters behind each channel.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1. A
    channel that several layers make (a residual sum) gets the mean over its filters.
    """
    return _norms(context, lambda rows: rows.abs().sum(1))


def l2(context: Context) -> dict[str, Tensor]:
    """Euclidean norm of the filters behind each channel; mean over its filters."""
    return _norms(context, lambda rows: rows.square().sum(1).sqrt())


def _norms(context: Context, norm: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Mean norm over the filters of each channel.

    Args:
        norm: from filters, shape (filters, weights), to shape (filters,).
    """
    scores: dict[str, Tensor] = {}
    for group in context.graph.groups:
        total = torch.zeros(group.size, dtype=torch.float64)
        filters = torch.zeros_like(total)
        for member in producers(group):
            weight = context.tensor(member.parameter).detach().double()
            rows = weight.movedim(member.axis, 0).flatten(1)
            found = norm(rows)
            total += sum_by_channel(found, member, group.size)
            filters += sum_by_channel(torch.ones_like(found), member, group.size)
        scores[group.name] = total / filters.clamp_min(1)
    return scores
