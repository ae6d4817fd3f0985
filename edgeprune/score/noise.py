"""The baseline that every criterion must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.context import Context


def random(context: Context) -> dict[str, Tensor]:
    """Uniform in 0..1, drawn from the seed."""
    generator = torch.Generator().manual_seed(context.seed)
    return {
        group.name: torch.rand(group.size, generator=generator)
        for group in context.graph.groups
    }
