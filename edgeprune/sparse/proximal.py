"""Proximal maps, and the step that an optimiser really takes.

A penalty h that has a kink cannot be left to gradients. Behind a step w -> v against
the gradient of the loss, the map argmin_u h(u) + |u - v|^2 / (2 p) makes exact zeros,
and the two together stop where loss + h does. For that p must be the step size that
the optimiser comes to in the long run, element by element where it has one for each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

NEWTON_STEPS = 20  # three to six are enough but for extreme ratios of step sizes
DONE = 1e-9
TINY = 1e-30


def soft_threshold(values: Tensor, thresholds: Tensor | float) -> Tensor:
    """The proximal map of thresholds * |.|, element by element."""
    return values.sign() * (values.abs() - thresholds).clamp_min(0.0)


def block_norms(
    values: Tensor, steps: Tensor, block: Tensor, weights: Tensor
) -> Tensor:
    """The norm of each block after the proximal map of the group lasso.

    The map is of sum_g weights_g * |u_g| in the metric of the steps p:
    u_i = v_i * s / (s + p_i * weight), with s = |u| the root of
    sum_i v_i^2 / (s + p_i * weight)^2 = 1; zero where sum_i (v_i / p_i)^2 <= weight^2.
    With one p for all it is the block soft threshold, s = |v| - p * weight.

    Args:
        values: all elements of all blocks, shape (n,).
        steps: p, shape (n,), above 0.
        block: of each element, shape (n,).
        weights: of each block, shape (blocks,).

    Returns:
        s, shape (blocks,), in float64.
    """
    squares = values.double() ** 2
    pulls = steps.double() * weights.double()[block]
    norms = torch.zeros(len(weights), dtype=torch.float64)
    alive = _summed(squares / pulls.clamp_min(TINY) ** 2, block, len(weights)) > 1.0
    for _ in range(NEWTON_STEPS):
        whole = (norms[block] + pulls).clamp_min(TINY)
        # Newton on 1 / |v / whole| = 1, which is nearly a straight line.
        size = _summed(squares / whole**2, block, len(weights)).sqrt()
        slope = _summed(squares / whole**3, block, len(weights)) / size**3
        change = torch.where(alive, (1 - 1 / size) / slope, 0.0)
        norms = (norms + change).clamp_min(0.0)
        if bool((change.abs() <= DONE * norms).all()):
            break
    return torch.where(alive, norms, 0.0)


def step_sizes(optimizer: Optimizer, parameter: Tensor) -> Tensor | float:
    """How far a constant gradient of 1 moves each element per step, in the long run.

    With momentum m it adds up to 1 / (1 - m) times the learning rate in SGD; Adam's
    average does not add up, and is divided by the root of the mean square. Weight
    decay is part of the loss. An optimiser that is not known moves by its rate.

    Returns:
        One number, or one for each element of the parameter.
    """
    for group in optimizer.param_groups:
        if any(item is parameter for item in group["params"]):
            state = optimizer.state.get(parameter, {})
            rate = float(group["lr"])
            if "exp_avg_sq" in state:
                return rate / _adam_scale(state, group)
            if "square_avg" in state:
                return rate / _rms_scale(state, group) / (1 - group.get("momentum", 0))
            if "sum" in state and "lr_decay" in group:
                decayed = 1 + (float(state["step"]) - 1) * group["lr_decay"]
                return rate / decayed / (state["sum"].sqrt() + group["eps"])
            damped = 1 - group.get("dampening", 0)
            return rate * damped / (1 - (group.get("momentum") or 0))
    raise KeyError("the optimiser does not train this parameter")


def _adam_scale(state: dict[str, Tensor], group: dict[str, float]) -> Tensor:
    squares = state.get("max_exp_avg_sq", state["exp_avg_sq"])
    seen = 1 - group["betas"][1] ** float(state["step"])  # type: ignore[index]
    return (squares / seen).sqrt() + group["eps"]


def _rms_scale(state: dict[str, Tensor], group: dict[str, float]) -> Tensor:
    squares = state["square_avg"]
    if "grad_avg" in state:
        squares = squares - state["grad_avg"] ** 2
    return squares.clamp_min(0.0).sqrt() + group["eps"]


def _summed(values: Tensor, block: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=values.dtype).index_add_(0, block, values)
