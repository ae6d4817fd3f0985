"""Layers as products of smaller ones: Tucker-2 for kernels, SVD for matrices.

Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power
Mobile Applications", 2016. A layer is factored at full rank, where nothing changes, its
ranks in the order of what they carry; fewer of them is then a matter of width.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from edgeprune.graph.factored import (
    CORE,
    FIRST,
    LAST,
    Factored,
    is_spatial,
    structure_of,
)
from edgeprune.graph.layers import replace_
from edgeprune.graph.model_copy import copied
from edgeprune.prune.vbmf import rank_of


def factored(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """A copy in which some layers are factored, at full rank: the same function."""
    found = copied(model)
    for name in layers:
        replace_(found, name, factored_layer(found.get_submodule(name)))
    return found


def factored_layer(layer: nn.Module) -> Factored:
    """One layer in its factored form, at full rank."""
    found = structure_of(layer).train(layer.training)
    weight = layer.weight
    assert isinstance(weight, Tensor)  # of every layer that can be factored
    parts = _tucker(weight) if is_spatial(layer) else _svd(weight)
    with torch.no_grad():
        for name, part in parts.items():
            target = found.get_submodule(name).weight
            assert isinstance(target, Tensor)  # as before
            target.copy_(part.reshape(target.shape))
        if isinstance(layer.bias, Tensor):
            found.get_submodule(LAST).bias.copy_(layer.bias)  # type: ignore[union-attr, operator]
    for name, parameter in found.named_parameters():
        source = layer.bias if name.endswith("bias") else weight
        parameter.requires_grad_(source.requires_grad)  # type: ignore[union-attr]
    return found


def energies(model: nn.Module, layer: str) -> dict[str, Tensor]:
    """Return the energy of each rank of a factored layer, shape (ranks,), by group.

    The singular values: norms of the slices of the core, or of the first of two.
    """
    parts = dict(model.get_submodule(layer).named_children())
    if CORE not in parts:
        weight = _weight(parts[FIRST])
        return {f"{layer}.{FIRST}": weight.flatten(1).norm(dim=1)}
    core = _weight(parts[CORE])
    return {
        f"{layer}.{FIRST}": core.transpose(0, 1).flatten(1).norm(dim=1),
        f"{layer}.{CORE}": core.flatten(1).norm(dim=1),
    }


def bayesian_ranks(layer: nn.Module) -> tuple[int, ...]:
    """Ranks of a layer by variational Bayes: (read, made), or one for a matrix."""
    weight = _weight(layer).double().numpy()
    if is_spatial(layer):
        read = tensorly.unfold(weight, 1)
        return rank_of(read), rank_of(tensorly.unfold(weight, 0))
    return (rank_of(weight.reshape(weight.shape[:2])),)


def _tucker(weight: Tensor) -> dict[str, Tensor]:
    """First (read ranks, read), core, and last (made, made ranks)."""
    kernel = weight.detach().double().numpy()
    area = kernel[0, 0].size
    made, read = kernel.shape[:2]
    ranks = [min(made, read * area), min(read, made * area)]
    (core, (outer, inner)), _ = partial_tucker(
        kernel, ranks, modes=[0, 1], n_iter_max=1
    )
    return {
        FIRST: torch.from_numpy(np.ascontiguousarray(inner.T)),
        CORE: torch.from_numpy(np.ascontiguousarray(core)),
        LAST: torch.from_numpy(np.ascontiguousarray(outer)),
    }


def _svd(weight: Tensor) -> dict[str, Tensor]:
    matrix = weight.detach().double().flatten(1).numpy()
    left, values, right = tensorly.truncated_svd(matrix, min(matrix.shape))
    return {
        FIRST: torch.from_numpy(values[:, None] * right),
        LAST: torch.from_numpy(np.ascontiguousarray(left)),
    }


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)  # of every layer that is factored
    return weight.detach()
