"""What a criterion may look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.data import Batches
from edgeprune.graph.groups import ChannelGraph, Group, Member
from edgeprune.progress import SILENT, Progress


@dataclass(frozen=True)
class Context:
    """A model, its groups and data.

    Attributes:
        samples: how many samples a criterion that needs data reads.
    """

    model: nn.Module
    graph: ChannelGraph
    batches: Batches | None = None
    samples: int = 512
    seed: int = 0
    progress: Progress = SILENT

    def tensor(self, path: str) -> Tensor:
        """A parameter or buffer by its path."""
        owner, _, name = path.rpartition(".")
        return getattr(self.model.get_submodule(owner), name)


def producers(group: Group) -> list[Member]:
    """The members that make a group's channels; all of them where none does."""
    made = [member for member in group.members if member.role == "output"]
    return made or list(group.members)


def sum_by_channel(values: Tensor, member: Member, size: int) -> Tensor:
    """Add up values along the last axis by channel.

    Args:
        values: shape (..., length of the member's axis).

    Returns:
        Shape (..., size).
    """
    owner = torch.from_numpy(member.channel_of)
    mine = (owner >= 0).nonzero()[:, 0]
    result = values.new_zeros(*values.shape[:-1], size)
    return result.index_add_(-1, owner[mine], values[..., mine])
