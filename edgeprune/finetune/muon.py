"""Steps in which every direction of a layer's weights learns alike.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

RELATIVE_STEP = 0.3  # of the learning rate: a step's length beside the weights' own
SHORTEST = 0.02  # of the length of orthogonal filters: weights that are still zero
WIDEST = 256  # of the shorter side: products of more take longer than the gradient
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5: steepest at 0, stays near 1
TINY = 1e-7


class Muon(Optimizer):
    """Matrices and dense kernels take orthogonal steps, all other parameters SGD's.

    The step of a layer's filters, seen as a matrix, is the orthogonal matrix nearest
    to what SGD with Nesterov momentum would take: a few strong directions do not drown
    the others. Its length is a share of the weights' own, which a batch norm behind
    them makes the only length that matters: `RELATIVE_STEP` times the learning rate.
    A layer of one filter, or of filters that read one channel each, as a depthwise one,
    has nothing to share out, and one that is wider than `WIDEST` would take too long:
    these take SGD's steps, too. Weight decay is decoupled for orthogonal steps.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        held = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, held)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of all parameters that have a gradient."""
        assert closure is None  # the loop has computed the loss
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move_(parameter, parameter.grad, group)

    def _move_(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        rate, momentum, decay = (
            group[key] for key in ("lr", "momentum", "weight_decay")
        )
        if not _shares(weights):
            wanted = self._nesterov(weights, gradient + decay * weights, momentum)
            weights.sub_(wanted, alpha=rate)
        elif gradient.any():  # else old momentum would turn it for ever
            _turn_(weights, self._nesterov(weights, gradient, momentum), rate, decay)

    def _nesterov(self, parameter: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        past = state["momentum"].mul_(momentum).add_(gradient)
        return gradient.add(past, alpha=momentum)


def _turn_(weights: Tensor, wanted: Tensor, rate: float, decay: float) -> None:
    """A step whose length is a share of the weights'."""
    step = orthogonal(wanted.flatten(1)).reshape(weights.shape)
    length = weights.norm().clamp_min(SHORTEST * len(weights) ** 0.5)
    weights.mul_(1 - rate * decay)
    weights.sub_(step * (rate * RELATIVE_STEP * length / step.norm().clamp_min(TINY)))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest one with orthonormal rows or columns, by Newton-Schulz.

    Singular values come out between 0.6 and 1.25, the smallest ones, of which a step
    should not be full, below: as good as 1 for a step, and found by products alone.
    These are of the shorter side's square: each iteration multiplies by a polynomial
    in it, and a kernel's longer side is many times as long.

    Args:
        matrix: shape (rows, columns).
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    unit = wide / wide.norm().clamp_min(TINY)
    square = unit @ unit.T
    whole = one = torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
    first, third, fifth = QUINTIC
    for _ in range(ITERATIONS):
        factor = first * one + third * square + fifth * square @ square
        whole, square = factor @ whole, factor @ square @ factor
    found = whole @ unit
    return found if wide is matrix else found.T


def _shares(parameter: Tensor) -> bool:
    """Whether there are several filters, not too many, which read several channels."""
    several = parameter.ndim > 1 and min(parameter.shape[:2]) > 1
    if not several or not parameter.is_floating_point():
        return False
    return min(len(parameter), parameter[0].numel()) <= WIDEST
