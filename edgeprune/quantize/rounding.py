"""Weights rounded so that a layer's outputs come out right, not each weight.

The nearest integer is best for each weight by itself, and seldom for a layer: what one
weight is off, others can take up, since inputs go together. So weights are fitted to
the outputs that are wanted by least squares, and rounded one input after another, where
what a rounding adds goes into the weights of the inputs that are still to come.
(Frantar et al., "GPTQ: Accurate post-training quantization for generative pre-trained
transformers", ICLR 2023, section 3.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.quantize.form import TINY, Int8Form, power_of_two

RIDGE = 0.01  # of the mean square of the inputs, while weights are rounded
RIDGES = (0.03, 0.3, 3, 1e6)
LEAST = 1e-4  # of the mean square of the inputs
NARROWED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)  # of the step that leaves nothing out
HALVED = (1.0, 0.5, 0.25)  # where steps are powers of two
BLOCK = 64  # inputs that are rounded before those behind them are corrected
BIAS_LEVELS = 2.0**28  # of 31 bits, with room for what the mean adds
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Rounded:
    """A layer in integers.

    Attributes:
        whole: shape (groups, out, in).
        steps: what one of them is worth, shape (groups, out, 1).
        bias: shape (groups, out); of a layer without, zeros.
    """

    whole: Numbers
    steps: Numbers
    bias: Numbers


@dataclass(frozen=True)
class Wanted:
    """What a layer is to make of what it will read.

    Attributes:
        inputs: shape (groups, places, in).
        outputs: shape (groups, places, out).
        unit: the step of the inputs, of which those of a bias are multiples; None of a
            layer without bias.
    """

    inputs: Numbers
    outputs: Numbers
    unit: float | None

    @property
    def least_step(self) -> Numbers:
        """Below it a bias overflows, shape (groups, out, 1)."""
        if self.unit is None:
            return np.full((1, 1, 1), TINY)
        most = np.abs(self.outputs).max(1)[..., None]
        return np.maximum(most / (self.unit * BIAS_LEVELS), TINY)

    def first(self, count: int) -> Wanted:
        """The first places."""
        part = slice(None), slice(count)
        return Wanted(self.inputs[part], self.outputs[part], self.unit)

    def bias(self, weights: Numbers) -> Numbers:
        """The one that takes up the mean, shape (groups, out)."""
        if self.unit is None:
            return np.zeros(weights.shape[:2])
        made = weights @ self.inputs.mean(1)[..., None]
        return self.outputs.mean(1) - made[..., 0]

    def centred(self) -> tuple[Numbers, Numbers]:
        """Both without their means, where a bias takes them up."""
        if self.unit is None:
            return self.inputs, self.outputs
        held = self.inputs, self.outputs
        x, y = (part - part.mean(1, keepdims=True) for part in held)
        return x, y

    def error(self, found: Rounded) -> float:
        """The sum of squares by which a layer misses them."""
        made = self.inputs @ (found.whole * found.steps).transpose(0, 2, 1)
        return float(np.square(made + found.bias[:, None] - self.outputs).sum())


def fitted(weights: Numbers, wanted: Wanted, form: Int8Form) -> Rounded:
    """The weights that come nearest to outputs, in integers.

    The last quarter of the places decides how freely the others are followed.

    Args:
        weights: of the float layer, shape (groups, out, in).
    """
    known = wanted.first(wanted.inputs.shape[1] * 3 // 4)
    x, y = known.centred()
    gram = x.transpose(0, 2, 1) @ x
    squares = np.einsum("gii->gi", gram)
    level = np.maximum(squares.mean(1), LEAST * squares.mean() + TINY)
    ridge = level[:, None, None] * np.eye(gram.shape[-1])
    rest = x.transpose(0, 2, 1) @ (y - x @ weights.transpose(0, 2, 1))

    def in_integers(near: Numbers, fed: Numbers | None) -> Rounded:
        steps = np.maximum(steps_for(near, squares, form), known.least_step)
        whole = rounded(near, fed, steps, form.weight_levels)
        return Rounded(whole, steps, known.bias(whole * steps))

    tried = [in_integers(weights, None)]
    for share in RIDGES:
        shift = np.linalg.solve(gram + share * ridge, rest)
        near = weights + shift.transpose(0, 2, 1)
        tried.append(in_integers(near, gram + RIDGE * ridge))
    unseen = Wanted(
        wanted.inputs[:, known.inputs.shape[1] :],
        wanted.outputs[:, known.inputs.shape[1] :],
        wanted.unit,
    )
    return min(tried, key=unseen.error)


def steps_for(weights: Numbers, squares: Numbers, form: Int8Form) -> Numbers:
    """Steps of the least error, shape (groups, out, 1).

    Args:
        squares: of the inputs, which is what an error counts, shape (groups, in).
    """
    most = np.abs(weights).max(2, keepdims=True)
    if form.per_tensor:
        most = np.full_like(most, most.max())
    first = np.maximum(most, TINY) / form.weight_levels
    if form.powers_of_two:
        first = power_of_two(first)
    best, least = first, np.full(first.shape, np.inf)
    for share in HALVED if form.powers_of_two else NARROWED:
        steps = first * share
        off = nearest(weights, steps, form.weight_levels) * steps - weights
        error = (off**2 * squares[:, None]).sum(2, keepdims=True)
        if form.per_tensor:
            error = np.full_like(error, error.sum())
        best, least = np.where(error < least, steps, best), np.minimum(error, least)
    return best


def rounded(
    weights: Numbers, gram: Numbers | None, steps: Numbers, levels: int
) -> Numbers:
    """Weights in integers, one input after another, shape (groups, out, in).

    Args:
        gram: of the inputs, shape (groups, in, in), positive definite; None for the
            nearest integer of each weight.
    """
    if gram is None:
        return nearest(weights, steps, levels)
    rest, found = weights.copy(), np.zeros_like(weights)
    factor = np.linalg.cholesky(np.linalg.inv(gram)).transpose(0, 2, 1)  # upper
    count = weights.shape[2]
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        lost = np.zeros((*weights.shape[:2], end - start))
        for at in range(start, end):
            one = nearest(rest[..., at, None], steps, levels)
            found[..., at] = one[..., 0]
            off = (rest[..., at] - (one * steps)[..., 0]) / factor[:, at, at, None]
            row = factor[:, at, None, at + 1 : end]
            rest[..., at + 1 : end] -= off[..., None] * row
            lost[..., at - start] = off
        rest[..., end:] -= lost @ factor[:, start:end, end:]
    return found


def nearest(weights: Numbers, steps: Numbers, levels: int) -> Numbers:
    """The nearest integers within the levels."""
    return np.clip(np.rint(weights / steps), -levels, levels)
