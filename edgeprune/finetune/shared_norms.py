"""Batch norms whose statistics are those of the whole batch, however it is divided.

Torch's own `SyncBatchNorm` runs on GPUs only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from edgeprune.graph.channels import BATCH_NORMS
from edgeprune.graph.layers import replace_


class _Sum(torch.autograd.Function):
    """A sum over all processes, through which gradients flow back to all of them."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ARG004  torch gives it
        """The sum of the parts."""
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ARG004
        """Return the gradient of the sum of all processes' losses."""
        return _summed(grad_outputs[0])


def _summed(part: Tensor) -> Tensor:
    total = part.clone()
    distributed.all_reduce(total)
    return total


class SharedNorm(nn.BatchNorm2d):
    """A batch norm that adds up sums over all processes; tensors as any other's."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """Normed, by the batch's or by the running statistics."""
        if not self.training:
            return super().forward(input)
        x = input
        axes = [axis for axis in range(x.ndim) if axis != 1]
        numbers = x.float()
        count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        sums = torch.cat([count, numbers.sum(axes)])
        sums = _Sum.apply(sums)
        mean = sums[1:] / sums[0]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        centred = numbers - mean.reshape(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / sums[0].detach()
        self._remember(mean.detach(), variance.detach(), float(sums[0].detach()))
        found = centred * (variance + self.eps).rsqrt().reshape(shape)
        if self.affine:
            found = found * self.weight.reshape(shape) + self.bias.reshape(shape)
        return found.to(x.dtype)

    def _check_input_dim(self, input: Any) -> None:  # noqa: A002  torch's name
        """Whatever the norm that it stands for took."""

    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Running statistics as of torch's own."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # with the others
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / float(self.num_batches_tracked)
        unbiased = variance * count / max(count - 1, 1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def share_norms_(model: nn.Module) -> None:
    """Put shared norms in the place of a model's batch norms."""
    if not distributed.is_initialized():
        return
    for path, module in list(model.named_modules()):
        if type(module) in BATCH_NORMS:  # no others, which may do more
            assert isinstance(module, BATCH_NORMS)
            shared = SharedNorm(
                module.num_features,
                module.eps,
                module.momentum,
                affine=module.affine,
                track_running_stats=module.track_running_stats,
            )
            shared.load_state_dict(module.state_dict())
            for mine, other in zip(
                shared.parameters(), module.parameters(), strict=True
            ):
                mine.requires_grad = other.requires_grad
            replace_(model, path, shared)
