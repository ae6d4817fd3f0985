"""First-order change of the loss when a channel goes."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.score.activations import consumer_inputs, gated
from edgeprune.score.context import Context


def taylor(context: Context) -> dict[str, Tensor]:
    """Mean over samples of the absolute first-order change of the loss.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", ICLR 2017, equation 8, with the sum over positions in place of their
    mean, so that scores of all groups are in units of the loss. A channel is gated
    where it is read: the score is abs(sum a * dL/da) over all its consumers, which is
    what zeroing it changes to first order.
    """
    totals = context.zeros()
    seen = 0
    for batch in gated(context, consumer_inputs(context)):
        loss = context.loss(batch.outputs, batch.labels) * len(batch.labels)
        changes: dict[str, Tensor] = {}
        for name, flow in batch.flows(loss, torch.mul, last=True):
            changes[name] = changes.get(name, 0) + flow.sums
        for name, change in changes.items():
            totals[name] += change.abs().sum(0)
        seen += len(batch.labels)
    return {name: total / max(seen, 1) for name, total in totals.items()}
