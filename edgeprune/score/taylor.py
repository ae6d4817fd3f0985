"""First-order change of the loss when a channel goes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.graph.groups import Group, Member
from edgeprune.graph.layers import CONVOLUTIONS
from edgeprune.graph.trace import evaluating
from edgeprune.score.context import Context, producers, sum_by_channel

Consumers = dict[str, list[tuple[Group, Member]]]  # by the module that reads


def taylor(context: Context) -> dict[str, Tensor]:
    """Mean over samples of the absolute first-order change of the loss.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", ICLR 2017, equation 8, with the sum over positions in place of their
    mean, so that scores of all groups are in units of the loss. A channel is
    gated where it is read: the score is abs(sum x * dL/dx) over all its consumers'
    inputs, which is what zeroing it changes to first order. Inputs of functional
    layers cannot be watched: what they read counts at the layers that can, and where
    there is none, by weights times gradients of whole batches where it is made.
    """
    model = copy.deepcopy(context.model).requires_grad_(True)
    watched = _watched_by(context, model)
    unwatched = [
        group
        for group in context.graph.groups
        if not any(group is other for held in watched.values() for other, _ in held)
    ]
    totals = {
        group.name: torch.zeros(group.size, dtype=torch.float64)
        for group in context.graph.groups
    }
    seen = 0
    assert context.batches is not None  # checked by the caller
    context.progress.start("score", context.samples)
    with evaluating(model), torch.enable_grad():
        for x, y in context.batches:
            rest = context.samples - seen
            if rest <= 0:
                break
            changes = _changes(model, watched, unwatched, (x[:rest], y[:rest]))
            for name, change in changes.items():
                totals[name] += change.abs().sum(0)
            seen += len(x[:rest])
            for _ in range(len(x[:rest])):
                context.progress.advance()
    context.progress.finish(f"{seen} samples")
    return {name: total / max(seen, 1) for name, total in totals.items()}


def _watched_by(context: Context, model: nn.Module) -> Consumers:
    """Which of torch's layers read which groups."""
    found: Consumers = defaultdict(list)
    for group in context.graph.groups:
        for member in group.members:
            owner, _, name = member.parameter.rpartition(".")
            layer = model.get_submodule(owner)
            if member.role == "input" and name == "weight" and _is_called(layer):
                found[owner].append((group, member))
    return found


WATCHED = (*CONVOLUTIONS, nn.Linear)


def _is_called(layer: nn.Module) -> bool:
    """Whether a layer is one whose input can be watched.

    The last layer of torch's own attention is not called; its weight is only read.
    """
    return isinstance(layer, WATCHED) and not isinstance(
        layer, nn.modules.linear.NonDynamicallyQuantizableLinear
    )


def _changes(
    model: nn.Module,
    watched: Consumers,
    unwatched: list[Group],
    batch: tuple[Tensor, Tensor],
) -> dict[str, Tensor]:
    """Signed first-order change by group, shape (N, channels).

    A group that no layer reads whose input can be watched has one for the batch as a
    whole, shape (1, channels), where it is made: what zeroing its weights changes.
    """
    x, y = batch
    makers = [(group, member) for group in unwatched for member in producers(group)]
    weights = [model.get_parameter(member.parameter) for _, member in makers]
    with _watched(model, list(watched)) as inputs:
        loss = functional.cross_entropy(model(x), y, reduction="sum")
        values = [*(item for _, item in inputs), *weights]
        grads = list[Tensor | None](
            torch.autograd.grad(loss, values, allow_unused=True)
        )
    changes: dict[str, Tensor] = {}
    for (owner, value), grad in zip(inputs, grads, strict=False):
        flow = _flow(value, grad, model.get_submodule(owner))
        for group, member in watched[owner]:
            part = _by_channel(flow, group, member)
            changes[group.name] = changes.get(group.name, torch.zeros(())) + part
    for (group, member), weight, grad in zip(
        makers, weights, grads[len(inputs) :], strict=True
    ):
        if grad is not None:
            flow = (weight * grad).detach().double().movedim(member.axis, 0)
            part = sum_by_channel(flow.flatten(1).sum(1), member, group.size)[None]
            changes[group.name] = changes.get(group.name, torch.zeros(())) + part
    return changes


def _flow(value: Tensor, grad: Tensor | None, module: nn.Module) -> Tensor:
    """What zeroing each input of a layer changes, shape (N, inputs)."""
    axis = value.ndim - 1 if isinstance(module, nn.Linear) else 1
    product = torch.zeros_like(value) if grad is None else value * grad
    flow = product.detach().double().movedim(axis, -1)
    return flow.reshape(len(value), -1, flow.shape[-1]).sum(1)


def _by_channel(flow: Tensor, group: Group, member: Member) -> Tensor:
    """(N, inputs) to (N, channels); a grouped layer's offsets repeat for each group."""
    length = len(member.channel_of)
    repeated = flow.reshape(len(flow), -1, length).sum(1)
    return sum_by_channel(repeated, member, group.size)


@contextmanager
def _watched(model: nn.Module, owners: list[str]) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect the inputs of modules, one entry per call, in a form with gradients."""
    seen: list[tuple[str, Tensor]] = []

    def watch(owner: str):  # noqa: ANN202  torch's own hook type
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            value = arguments[0] + 0  # a node of its own, that in-place code spares
            seen.append((owner, value))
            return (value, *arguments[1:])

        return hook

    handles = [
        model.get_submodule(owner).register_forward_pre_hook(watch(owner))
        for owner in owners
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
