"""How much the outputs change with a channel."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.activations import consumer_inputs, gated
from edgeprune.score.context import Context

MOST_CLASSES = 16  # of which each is asked by itself
PROJECTIONS = 4  # of more classes


def output_gradient(context: Context) -> dict[str, Tensor]:
    """Mean over samples of sum_c abs(dz_c / da), z the outputs before the softmax.

    Summed over the positions of the channel's maps, and over all its consumers. Up to
    16 outputs it is exact. Of more, four random combinations with signs are asked: the
    mean of abs(sum_c s_c dz_c / da) lies between 0.7 and 1 times the Euclidean norm
    over the outputs (Khintchine's inequality), which stands in for their sum.
    """
    totals = context.zeros()
    generator = torch.Generator().manual_seed(context.seed)
    seen = 0
    for batch in gated(context, consumer_inputs(context)):
        outputs = batch.outputs.flatten(1)
        asked = _asked(outputs, generator)
        for index, weights in enumerate(asked):
            last = index == len(asked) - 1
            combined = (outputs * weights).sum()
            for name, flow in batch.flows(combined, _size, last=last):
                totals[name] += flow.sums.sum(0)
        seen += len(outputs)
    return {name: total / max(seen, 1) for name, total in totals.items()}


def _asked(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """The combinations of outputs to ask for, shape (combinations, N or 1, classes)."""
    classes = outputs.shape[1]
    if classes <= MOST_CLASSES:
        return torch.eye(classes).to(outputs)[:, None]
    shape = (PROJECTIONS, *outputs.shape)
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return signs.to(outputs) / PROJECTIONS


def _size(_: Tensor, grad: Tensor) -> Tensor:
    return grad.abs()
