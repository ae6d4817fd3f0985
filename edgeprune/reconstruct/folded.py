"""A layer and the batch norm behind it as one linear map, there and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgeprune.graph.device import able
from edgeprune.reconstruct.layers import Layer, Norm
from edgeprune.reconstruct.least_squares import LayerFit, LeastSquares

State = Mapping[str, Tensor]  # by path; written to in place


def weights_of(state: State, layer: Layer) -> Tensor:
    """Return the effective weight of a layer, shape (groups, made, read)."""
    gain = _gain(state, layer.norm) if layer.norm else None
    if layer.weight is None:
        assert gain is not None  # a batch norm by itself
        return gain[:, None, None]
    weight = _exact(state[layer.weight]).flatten(1)
    weight = weight if gain is None else weight * gain[:, None]
    return weight.unflatten(0, (layer.arguments.get("groups", 1), -1))


def write_(state: State, layer: Layer, fit: LayerFit, squares: LeastSquares) -> None:
    """Make a layer do what was fitted; a norm's statistics become what they are now."""
    weight, shift = fit.weight.flatten(0, 1), fit.shift.flatten()
    if layer.weight is None:
        _write_norm_(
            state, layer, weight[:, 0], (squares.mean, squares.variance), shift
        )
        return
    size = torch.ones(len(weight), dtype=weight.dtype, device=weight.device)
    if layer.norm is not None:
        # The norm divides by any factor again: filters stay as large as they were.
        before = _exact(state[layer.weight]).flatten(1).norm(dim=1)
        size = _finite(before / weight.norm(dim=1))
        bias = _exact(state[layer.bias]) if layer.bias else 0.0
        mean, variance = (item.flatten() for item in squares.moments(fit.weight))
        moments = (mean * size + bias, variance * size**2)
        _write_norm_(state, layer, 1 / size, moments, shift - bias / size)
    elif layer.bias is not None:
        state[layer.bias].copy_(shift)
    held = state[layer.weight]
    held.copy_((weight * size[:, None]).reshape(held.shape))


def _write_norm_(
    state: State,
    layer: Layer,
    gain: Tensor,
    moments: tuple[Tensor, Tensor],
    shift: Tensor,
) -> None:
    """A norm of these statistics that multiplies by a gain and adds a shift."""
    norm = layer.norm
    assert norm is not None  # by the caller
    mean, variance = (item.flatten() for item in moments)
    state[norm.mean].copy_(mean)
    state[norm.variance].copy_(variance)
    state[norm.weight].copy_(gain * (variance + norm.eps).sqrt())
    state[norm.bias].copy_(shift + gain * mean)


def _gain(state: State, norm: Norm) -> Tensor:
    variance = _exact(state[norm.variance]) + norm.eps
    return _exact(state[norm.weight]) / variance.sqrt()


def _exact(tensor: Tensor) -> Tensor:
    return able(tensor).double()


def _finite(ratio: Tensor) -> Tensor:
    return torch.where(ratio.isfinite() & (ratio > 0), ratio, 1.0)
