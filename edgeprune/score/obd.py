"""Optimal brain damage: second-order change of the loss without a channel."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.context import Context
from edgeprune.score.weight_gradients import by_channel, weight_gradients
from edgeprune.tasks import Classification

STEP = 8  # samples whose curvature one backward pass draws


def obd(context: Context) -> dict[str, Tensor]:
    """Sum over the filters' weights of h * w^2 / 2.

    LeCun et al., "Optimal Brain Damage", NIPS 1989, equation 5; h is the diagonal of
    the Gauss-Newton matrix of the mean cross-entropy, which is that of the Fisher
    matrix too, and of the Hessian where the network is piecewise linear in each
    weight. No labels are needed: for outputs z and probabilities p the matrix is
    J^T (diag(p) - p p^T) J, and what is in the bracket is the mean of u u^T for
    u = r sqrt(p) - p (r . sqrt(p)) with random signs r. Signs of different samples are
    independent, so the squared gradient of a sum over samples of u . z is h in the
    mean. Summed over all filters that make a channel. Outputs that are no class scores
    are taken to have a squared loss, whose matrix is J^T J: u = r.
    """
    generator = torch.Generator().manual_seed(context.seed)
    seen = 0
    task = context.task
    classes = task if isinstance(task, Classification) else None

    def drawn(outputs: Tensor, _: Tensor) -> Tensor:
        nonlocal seen
        seen += len(outputs)
        if classes is not None:
            outputs = classes.scores(outputs)
        outputs = outputs.flatten(1)
        p = outputs.detach().softmax(1)
        signs = torch.randint(0, 2, p.shape, generator=generator).to(p) * 2 - 1
        if classes is None:
            return (outputs * signs).sum()
        roots = signs * p.sqrt()
        return (outputs * (roots - p * roots.sum(1, keepdim=True))).sum()

    totals = context.zeros()
    for found in weight_gradients(context, drawn, STEP):
        for group, member, weight, grad in found:
            change = by_channel((weight * grad).square() / 2, member, group.size)
            totals[group.name] += change
    return {name: total / max(seen, 1) for name, total in totals.items()}
