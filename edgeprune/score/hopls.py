"""Which channels a regression from whole feature maps to labels draws on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorly
import torch
from tensorly.decomposition import tucker
from torch import Tensor
from torch.nn import functional

from edgeprune.graph.rules import result_shape
from edgeprune.graph.sites import Site
from edgeprune.score.activations import Seen, Sites, consumer_inputs, observe
from edgeprune.score.context import Context
from edgeprune.score.pls import Array, one_hot, projection_importance

COMPONENTS = 5  # latent vectors, at most
RANK = 3  # along each axis but that of the labels
SIDE = 8  # positions along each axis of a map; larger ones are averaged
RESPONSES = 32  # of more classes so many random combinations are explained
HELD_BYTES = 2**28  # maps in memory at once
SWEEPS = 5  # of the alternating least squares


def hopls_vip(context: Context) -> dict[str, Tensor]:
    """Variable importance in projection of a higher-order PLS regression.

    Zhao et al., "Higher-Order Partial Least Squares (HOPLS)", 2013, for a tensor of
    feature maps, shape (N, channels, height, width), and a matrix of one-hot labels,
    where each group's channels are read: `hopls_importance`. A channel that is read
    in several places gets the root of the mean of its squares.

    Maps are averaged down to at most 8 positions along an axis. As many layers are
    held at once as a quarter of a GiB has room for; where that is not all of them, the
    network runs several times.
    """
    squares = context.zeros()
    everywhere = consumer_inputs(context)
    for sites in _portions(everywhere, context.samples):
        held: dict[tuple[str, int], list[Tensor]] = {}

        def take(
            name: str,
            values: Seen,
            sites: Sites = sites,
            held: dict[tuple[str, int], list[Tensor]] = held,
        ) -> None:
            key = name, sites[name].index(values.site)
            held.setdefault(key, []).append(_averaged(values.maps))

        y = _combined(one_hot(observe(context, sites, take)), context.seed)
        for name, index in list(held):
            maps = torch.cat(held.pop((name, index))).numpy()
            found = torch.from_numpy(hopls_importance(maps, y)).double()
            squares[name] += found.square() / len(everywhere[name])
    return {name: total.sqrt() for name, total in squares.items()}


def hopls_importance(x: Array, y: Array) -> Array:
    """VIP of each channel, from up to 5 latent vectors.

    Each comes from the rank-(1, 3, 3, ...) Tucker approximation of the covariance
    between responses and what is left of the maps: its pattern of channels and
    positions, of unit norm, is the weight that maps are projected with, and a
    channel's share in a component is that of its squares. The latent vector is then
    taken out of maps and responses, as in ordinary PLS: for maps of one position both
    are the same. (Zhao takes out only what lies in the subspace of the pattern.)

    Args:
        x: shape (N, channels, ...).
        y: shape (N, responses).

    Returns:
        Shape (channels,).
    """
    x, y = _standardised(x), _standardised(y.astype(x.dtype))
    x = x.reshape(*x.shape[:2], *(size for size in x.shape[2:] if size > 1))
    shares: list[Array] = []
    explained: list[float] = []
    for _ in range(min(COMPONENTS, len(x) - 1, math.prod(x.shape[1:]))):
        covariance = np.tensordot(y, x, axes=(0, 0))
        if not covariance.any():
            break
        weight = _pattern(covariance)
        latent = np.tensordot(x, weight, axes=weight.ndim)
        power = float(latent @ latent)
        if power < np.finfo(x.dtype).eps * len(x):
            break
        loading = y.T @ latent / power
        y -= np.outer(latent, loading)
        x -= np.multiply.outer(latent, np.tensordot(latent, x, axes=1) / power)
        shares.append((weight**2).reshape(len(weight), -1).sum(1))
        explained.append(float(loading @ loading) * power)
    if not shares:
        return np.zeros(x.shape[1])
    return projection_importance(np.stack(shares, 1), np.array(explained))


def _pattern(covariance: Array) -> Array:
    """The maps' part of a rank-(1, 3, ...) approximation, of unit norm.

    Args:
        covariance: shape (responses, channels, ...).
    """
    ranks = [1, *(min(RANK, size) for size in covariance.shape[1:])]
    # No rank can be above the product of the others.
    ranks = [min(rank, math.prod(ranks) // rank) for rank in ranks]
    start: Any = _truncated(covariance, ranks)
    core, factors = tucker(covariance, ranks, n_iter_max=SWEEPS, init=start)
    found = tensorly.tucker_to_tensor((core[0], factors[1:]))
    norm = np.linalg.norm(found)
    return found / norm if norm > 0 else found


def _truncated(tensor: Array, ranks: Sequence[int]) -> tuple[Array, list[Array]]:
    """Core and factors of the sequentially truncated higher-order SVD.

    Vannieuwenhoven et al., "A new truncation strategy for the higher-order singular
    value decomposition", 2012. Short axes come first, so that the long one of the
    channels is left with few columns.
    """
    factors: list[Array] = [np.empty(0)] * tensor.ndim
    for axis in np.argsort(tensor.shape, kind="stable").tolist():
        vectors = np.linalg.svd(tensorly.unfold(tensor, axis), full_matrices=False)[0]
        factors[axis] = vectors[:, : ranks[axis]]
        projected = np.tensordot(factors[axis].T, tensor, axes=(1, axis))
        tensor = np.moveaxis(projected, 0, axis)
    return tensor, factors


def _standardised(values: Array) -> Array:
    """Centred over samples; the mean square of each column, or channel, is 1 or 0."""
    values = values - values.mean(0)
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    scale = np.sqrt((values**2).mean(axes, keepdims=True))
    values /= np.where(scale > 0, scale, 1)
    return values


def _combined(y: Array, seed: int) -> Array:
    """Responses, or random combinations of many with signs."""
    if y.shape[1] <= RESPONSES:
        return y
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (y.shape[1], RESPONSES))
    return y @ signs


def _averaged(maps: Tensor) -> Tensor:
    """Maps of at most 8 positions along each axis, shape (N, channels, ...)."""
    for axis in range(2, maps.ndim):
        if maps.shape[axis] > SIDE:
            laid = maps.movedim(axis, -1)
            pooled = functional.adaptive_avg_pool1d(laid.flatten(0, -2), SIDE)
            maps = pooled.reshape(*laid.shape[:-1], SIDE).movedim(-1, axis)
    return maps.clone()


def _portions(sites: Sites, samples: int) -> Iterator[dict[str, list[Site]]]:
    """Sites whose maps of all samples fit in memory together."""
    portion: dict[str, list[Site]] = {}
    used = 0
    for name, found in sites.items():
        needed = sum(_bytes(site, samples) for site in found)
        if portion and used + needed > HELD_BYTES:
            yield portion
            portion, used = {}, 0
        portion[name] = list(found)
        used += needed
    if portion:
        yield portion


def _bytes(site: Site, samples: int) -> int:
    """Estimate the bytes of a site's maps from the traced shape."""
    shape: Sequence[int] = result_shape(site.value)
    others = [size for axis, size in enumerate(shape) if axis not in site.axes][1:]
    positions = math.prod(min(size, SIDE) for size in others)
    return 4 * samples * positions * int((site.channel_of >= 0).sum())
