"""Gradients of a loss with respect to the weights that make each channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import Group, Member
from edgeprune.graph.model_copy import copied
from edgeprune.score.context import Context, producers, sum_by_channel

Loss = Callable[[Tensor, Tensor], Tensor]


def weight_gradients(
    context: Context, loss: Loss, step: int
) -> Iterator[list[tuple[Group, Member, Tensor, Tensor]]]:
    """For each step of samples every producer of every group: weight and gradient.

    Args:
        loss: from outputs and labels to a scalar.
        step: samples in one backward pass.
    """
    model = copied(context.model).to(context.device).requires_grad_(True)
    held = dict(model.named_parameters(remove_duplicate=False))
    made = [
        (group, member)
        for group in context.graph.groups
        for member in producers(group)
        if member.parameter in held
    ]
    weights = [held[member.parameter] for _, member in made]
    for x, y in context.labelled():
        x, y = x.to(context.device), y.to(context.device)
        for some, labels in zip(x.split(step), y.split(step), strict=True):
            with evaluating(model), torch.enable_grad():
                found = loss(model(some), labels)
            grads = torch.autograd.grad(
                found, weights, allow_unused=True, materialize_grads=True
            )
            yield [
                (*pair, weight.detach().cpu(), grad.cpu())
                for pair, weight, grad in zip(made, weights, grads, strict=True)
            ]


def by_channel(values: Tensor, member: Member, size: int) -> Tensor:
    """Sum of one value for each weight over the channels' filters, shape (size,)."""
    rows = values.double().movedim(member.axis, 0).flatten(1).sum(1)
    return sum_by_channel(rows, member.channel_of, size)
