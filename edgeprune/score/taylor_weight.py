"""First-order change of the loss, told by the filters' weights."""

from __future__ import annotations

from torch import Tensor

from edgeprune.score.context import Context
from edgeprune.score.weight_gradients import by_channel, weight_gradients


def taylor_weight(context: Context) -> dict[str, Tensor]:
    """Mean over batches of (sum over the filters' weights of w * dL/dw)^2.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
    equation 8, L the mean loss of a batch. The sum runs over all filters that make a
    channel, so that scores of all groups are in units of the squared loss.
    """
    totals = context.zeros()
    batches = 0
    for found in weight_gradients(context, context.loss, context.step):
        changes: dict[str, Tensor] = {}
        for group, member, weight, grad in found:
            change = by_channel(weight * grad, member, group.size)
            changes[group.name] = changes.get(group.name, 0) + change
        for name, change in changes.items():
            totals[name] += change.square()
        batches += 1
    return {name: total / max(batches, 1) for name, total in totals.items()}
