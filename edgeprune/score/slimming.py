"""The scale that batch norm gives a channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeprune.graph.groups import Group, Member
from edgeprune.graph.layers import NORMS
from edgeprune.score.context import Context, mean_over_filters, producers


def slimming(context: Context) -> dict[str, Tensor]:
    """Absolute scale of the batch norms behind each channel; mean over them.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming",
    ICCV 2017, equation 1; it is meant for networks that were trained with a penalty on
    these scales. A channel without a batch norm gets the Euclidean norm of its
    filters: the scale at which a batch norm would leave the channel as it is, if what
    the filter reads were white.
    """
    scores: dict[str, Tensor] = {}
    for group in context.graph.groups:
        scales = _scales(context.model, group)
        scores[group.name] = mean_over_filters(
            context,
            scales or producers(group),
            group.size,
            _norms,
        )
    return scores


def _scales(model: nn.Module, group: Group) -> list[Member]:
    """The members that are weights of batch norms, one number for each channel."""
    found: list[Member] = []
    for member in group.members:
        owner, _, name = member.parameter.rpartition(".")
        if name == "weight" and isinstance(model.get_submodule(owner), NORMS):
            found.append(member)
    return found


def _norms(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1)
