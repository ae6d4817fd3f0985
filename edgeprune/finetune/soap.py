"""Adam's steps along the directions in which a layer's gradients mostly lie.

Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

RELATIVE_STEP = 0.3  # of the learning rate: a step's length beside the weights' own
SHORTEST = 0.02  # of the length of orthogonal filters: weights that are still zero
WIDEST = 256  # of the shorter side: wider layers would outlast their gradient
LONGEST = 1152  # of a side that is turned; 128 channels of 3x3 kernels
MEMORY = 0.95  # of squares and of products of gradients, per step
REFRESH = 20  # steps, until directions are found anew
DAMPING = 1e-3  # of the usual size of a gradient: less is as good as none
TINY = 1e-30


class Soap(Optimizer):
    """Matrices and dense kernels take the steps of SOAP, all other parameters SGD's.

    A layer's filters are seen as a matrix. Its gradients are turned to the eigenvectors
    of the averaged products of their rows and of their columns, divided there by their
    usual size, as Adam does, and turned back: weak directions learn as fast as strong
    ones, noisy ones more slowly. The length of a step is a share of the weights' own,
    which a batch norm behind them makes the only length that matters: `RELATIVE_STEP`
    times the learning rate. A layer of one filter, or of filters that read one channel
    each, as a depthwise one, has nothing to share out, and one that is wider than
    `WIDEST` would take too long: these take SGD's steps with Nesterov momentum. Weight
    decay is decoupled for all others.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
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
        state = self.state[weights]
        if not _shares(weights):
            past = state.setdefault("momentum", torch.zeros_like(gradient))
            wanted = gradient + decay * weights
            past.mul_(momentum).add_(wanted)
            weights.sub_(wanted.add(past, alpha=momentum), alpha=rate)
        elif gradient.any():  # else old momentum would move it for ever
            step = turned(state, gradient.flatten(1), momentum).reshape(weights.shape)
            length = weights.norm().clamp_min(SHORTEST * len(weights) ** 0.5)
            weights.mul_(1 - rate * decay)
            share = rate * RELATIVE_STEP * length / step.norm().clamp_min(TINY)
            weights.sub_(step * share)


def turned(state: dict[str, Tensor], gradient: Tensor, momentum: float) -> Tensor:
    """The direction of a step, shape (rows, columns) as the gradient.

    Args:
        state: of the layer, which is changed; empty before the first step.
    """
    if not state:
        _begin_(state, gradient)
    state["step"] += 1
    inside = _inside(state, gradient)
    mean = state["mean"].lerp_(inside, 1 - momentum)
    square = state["square"].lerp_(inside.square(), 1 - MEMORY)
    ahead = torch.lerp(inside, mean, momentum)  # as Nesterov: this gradient twice
    usual = square.mean().sqrt().clamp_min(TINY)
    step = _outside(state, ahead / (square.sqrt() + DAMPING * usual))
    _remember_(state, gradient)
    return step


def _begin_(state: dict[str, Tensor], gradient: Tensor) -> None:
    """The first gradient's own directions."""
    state["step"] = torch.zeros((), dtype=torch.int64)
    state["mean"] = torch.zeros_like(gradient)
    state["square"] = torch.zeros_like(gradient)
    for name, product in _products(gradient):
        state[name] = product
        state[f"{name} basis"] = torch.linalg.eigh(product)[1].flip(1)


def _remember_(state: dict[str, Tensor], gradient: Tensor) -> None:
    """Add a gradient to the products, and find directions anew every few steps.

    One iteration of the power method on all directions at once is enough: they hardly
    change meanwhile. What was averaged along the old ones is turned; squares cannot be,
    and only follow their order.
    """
    due = int(state["step"]) % REFRESH == 0
    for name, product in _products(gradient):
        held = state[name].lerp_(product, 1 - MEMORY)
        if not due:
            continue
        basis = state[f"{name} basis"]
        order = (basis * (held @ basis)).sum(0).argsort(descending=True, stable=True)
        found = torch.linalg.qr(held @ basis[:, order])[0]
        turn = found.T @ basis
        if name == "rows":
            state["mean"], state["square"] = (
                turn @ state["mean"],
                state["square"][order],
            )
        else:
            state["mean"] = state["mean"] @ turn.T
            state["square"] = state["square"][:, order]
        state[f"{name} basis"] = found.contiguous()  # as it is when read from a file


def _products(gradient: Tensor) -> list[tuple[str, Tensor]]:
    """Of a gradient's rows and columns, those that are not too many to be turned."""
    pairs = {"rows": gradient, "columns": gradient.T}
    return [
        (name, side @ side.T) for name, side in pairs.items() if len(side) <= LONGEST
    ]


def _inside(state: dict[str, Tensor], matrix: Tensor) -> Tensor:
    """A matrix along the layer's directions."""
    if "rows" in state:
        matrix = state["rows basis"].T @ matrix
    return matrix @ state["columns basis"] if "columns" in state else matrix


def _outside(state: dict[str, Tensor], matrix: Tensor) -> Tensor:
    if "rows" in state:
        matrix = state["rows basis"] @ matrix
    return matrix @ state["columns basis"].T if "columns" in state else matrix


def _shares(parameter: Tensor) -> bool:
    """Whether there are several filters, not too many, which read several channels."""
    several = parameter.ndim > 1 and min(parameter.shape[:2]) > 1
    if not several or not parameter.is_floating_point():
        return False
    return min(len(parameter), parameter[0].numel()) <= WIDEST
