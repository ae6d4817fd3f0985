"""Fresh weights, where only the shape of a network is to be kept."""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.graph.model_copy import copied


def fresh(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose modules have drawn their weights anew, each as torch does.

    Raises:
        WorkloadError: a module has parameters of its own and no `reset_parameters`.
    """
    torch.manual_seed(seed)
    made = copied(model)
    for path, module in made.named_modules():
        own = list(module.named_parameters(recurse=False))
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        elif own:
            message = (
                f"--from-scratch: {type(module).__name__} {path!r} has parameters "
                f"({own[0][0]}) and no reset_parameters() that draws them anew."
            )
            raise WorkloadError(message)
    return made
