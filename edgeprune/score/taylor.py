"""First-order change of the loss when a channel goes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.errors import ScoreError
from edgeprune.graph.groups import Group, Member
from edgeprune.graph.layers import CONVOLUTIONS
from edgeprune.graph.trace import evaluating
from edgeprune.score.context import Context, sum_by_channel

Consumers = dict[str, list[tuple[Group, Member]]]  # by the module that reads


def taylor(context: Context) -> dict[str, Tensor]:
    """Mean over samples of the absolute first-order change of the loss.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", ICLR 2017, equation 8, with the sum over positions in place of their
    mean, so that scores of all groups are in units of the loss. A channel is
    gated where it is read: the score is abs(sum x * dL/dx) over all its consumers'
    inputs, which is what zeroing it changes to first order.

    Raises:
        ScoreError: a channel is read by no layer that can be watched.
    """
    model = copy.deepcopy(context.model).requires_grad_(True)
    consumers = _consumers(context, model)
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
            changes = _changes(model, consumers, x[:rest], y[:rest])
            for name, change in changes.items():
                totals[name] += change.abs().sum(0)
            seen += len(x[:rest])
            for _ in range(len(x[:rest])):
                context.progress.advance()
    context.progress.finish(f"{seen} samples")
    return {name: total / max(seen, 1) for name, total in totals.items()}


def _consumers(context: Context, model: nn.Module) -> Consumers:
    """Which modules read which groups."""
    found: Consumers = defaultdict(list)
    for group in context.graph.groups:
        readers = [member for member in group.members if member.role == "input"]
        for member in readers:
            owner, _, name = member.parameter.rpartition(".")
            watched = isinstance(model.get_submodule(owner), WATCHED)
            if not watched or name != "weight":
                message = (
                    f"Criterion 'taylor' cannot watch what reads {group.name!r}: "
                    f"{member.parameter!r} is not the weight of a torch layer. Use l1."
                )
                raise ScoreError(message)
            found[owner].append((group, member))
    return found


WATCHED = (*CONVOLUTIONS, nn.Linear)


def _changes(
    model: nn.Module, consumers: Consumers, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Signed first-order change for each sample, shape (N, channels) by group."""
    with _watched(model, list(consumers)) as inputs:
        loss = functional.cross_entropy(model(x), y, reduction="sum")
        grads = torch.autograd.grad(loss, [item for _, item in inputs])
    changes: dict[str, Tensor] = {}
    for (owner, value), grad in zip(inputs, grads, strict=True):
        module = model.get_submodule(owner)
        axis = value.ndim - 1 if isinstance(module, nn.Linear) else 1
        flow = (value * grad).detach().double().movedim(axis, -1)
        flow = flow.reshape(len(value), -1, flow.shape[-1]).sum(1)
        for group, member in consumers[owner]:
            part = _by_channel(flow, group, member)
            changes[group.name] = changes.get(group.name, torch.zeros(())) + part
    return changes


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
