"""Steps in which every direction of a layer's weights learns alike.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

TURN = 0.2  # of the learning rate: a step's length beside the weights' own
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5: steepest at 0, stays near 1
TINY = 1e-7


class Muon(Optimizer):
    """Kernels and matrices take orthogonal steps, all other parameters those of SGD.

    The step of a layer's filters, seen as a matrix, is the orthogonal matrix nearest
    to what SGD with Nesterov momentum would take: a few strong directions do not drown
    the others. Its length is a share of the weights' own, which a batch norm behind
    them makes the only length that matters: `TURN` times the learning rate. Where each
    filter reads one channel, as in depthwise layers, there is nothing to share out.
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
                    self._move_(parameter, group)

    def _move_(self, parameter: Tensor, group: dict[str, Any]) -> None:
        length = parameter.norm() if _shares(parameter) else torch.zeros(())
        wanted = parameter.grad
        assert wanted is not None  # by the caller
        if not length:  # also weights that are still zero, which nothing scales
            wanted = wanted.add(parameter, alpha=group["weight_decay"])
        past = self.state[parameter].setdefault("momentum", torch.zeros_like(wanted))
        past.mul_(group["momentum"]).add_(wanted)
        wanted = wanted.add(past, alpha=group["momentum"])
        rate = group["lr"]
        if not length:
            parameter.sub_(wanted, alpha=rate)
            return
        parameter.mul_(1 - rate * group["weight_decay"])
        turned = orthogonal(wanted.flatten(1)).reshape(parameter.shape)
        parameter.sub_(turned * (rate * TURN * length / turned.norm().clamp_min(TINY)))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest one with orthonormal rows or columns, by Newton-Schulz.

    Singular values come out between 0.7 and 1.2, the smallest ones, of which a step
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
    """Whether filters read several channels, and there are several."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) > 1
