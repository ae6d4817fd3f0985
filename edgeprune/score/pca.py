"""How many dimensions the activations of each layer and group have."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from edgeprune.graph.hooked_run import Reading
from edgeprune.graph.rules import result_shape
from edgeprune.graph.sites import Site
from edgeprune.records import Spectra, Spectrum
from edgeprune.records.spectrum import ROWS
from edgeprune.score.activations import Seen, observe
from edgeprune.score.context import Context

TINY = 1e-300

_pivoted_qr: Any = scipy.linalg.qr  # whose results depend on its arguments


@dataclass
class Covariance:
    """The covariance of rows that come in portions."""

    channels: int

    def __post_init__(self) -> None:
        self.rows = 0
        self._sum = torch.zeros(self.channels, dtype=torch.float64)
        self._products = torch.zeros(self.channels, self.channels, dtype=torch.float64)
        self._shift: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take rows of shape (n, channels) into account."""
        rows = rows.double()
        if self._shift is None:  # keeps the digits where means are large
            self._shift = rows.mean(0)
        rows = rows - self._shift
        self.rows += len(rows)
        self._sum += rows.sum(0)
        self._products.addmm_(rows.T, rows)

    @property
    def matrix(self) -> Tensor:
        """Shape (channels, channels)."""
        mean = self._sum / max(self.rows, 1)
        return self._products / max(self.rows, 1) - torch.outer(mean, mean)


Layers = dict[str, Site]  # by the layer that makes the channels
Covariances = dict[tuple[str, Reading], Covariance]  # by group and place


def pca(context: Context) -> dict[str, Tensor]:
    """Score channels by what each adds to those chosen before it, by pivoted QR.

    The columns of the covariance of a group's activations before the non-linearity
    are chosen one by one, the one with the largest rest outside the span of those
    before it first; the score is the norm of that rest. Golub and Van Loan, "Matrix
    Computations", 2013, section 5.4.2.
    """
    layers = _layers(context)
    found, _ = _covariances(context, layers)
    scores: dict[str, Tensor] = {}
    for group in context.graph.groups:
        united = _united(found, group.name, layers[group.name])
        triangle, order = _pivoted_qr(united.numpy(), mode="r", pivoting=True)
        score = np.zeros(group.size)
        score[order] = np.abs(np.diag(triangle))
        scores[group.name] = torch.from_numpy(score)
    return scores


def spectra(context: Context) -> Spectra:
    """The principal components of every layer's and every group's activations.

    Garg et al., "A Low Effort Approach to Structured CNN Design Using PCA", 2018,
    section III: activations before the non-linearity, each position of each sample a
    row, in one pass over at least 100 rows per channel where the data have them (layers
    of a single position take what the others ask for).
    Channels that several layers make, as those of a residual stage, are one set of
    variables: their covariances are added up, each divided by its total variance.

    Example:
        >>> import edgeprune, torch
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
        ... )
        >>> x, y = torch.randn(32, 3, 16, 16), torch.arange(32) % 4
        >>> graph = edgeprune.survey(model, (x[:1],))
        >>> found = edgeprune.spectra(edgeprune.Context(model, graph, [(x, y)]))
        >>> [(layer.name, layer.channels) for layer in found.layers]
        [('0', 8)]
    """
    start = time.perf_counter()
    layers = _layers(context)
    enough = replace(context, samples=max(context.samples, _samples(layers)))
    found, samples = _covariances(enough, layers)
    order = {node: index for index, node in enumerate(context.graph.traced.nodes)}
    single = [
        (order[site.reader], layer, found[group, site.place])
        for group, sites in layers.items()
        for layer, site in sites.items()
    ]
    single.sort(key=lambda item: item[0])
    rows = {
        name: min(found[name, site.place].rows for site in sites.values())
        for name, sites in layers.items()
    }
    return Spectra(
        groups=tuple(
            _spectrum(name, _united(found, name, sites), rows[name])
            for name, sites in layers.items()
        ),
        layers=tuple(
            _spectrum(layer, covariance.matrix, covariance.rows)
            for _, layer, covariance in single
        ),
        samples=samples,
        seconds=time.perf_counter() - start,
    )


def _layers(context: Context) -> dict[str, Layers]:
    """By group the sites behind its layers; of none of these where it is read."""
    found: dict[str, Layers] = {}
    for group in context.graph.groups:
        finder = context.graph.sites(group)
        read = enumerate(finder.consumer_inputs())
        found[group.name] = finder.layers() or {
            f"{group.name}#{index}" if index else group.name: site
            for index, site in read
        }
    return found


def _covariances(
    context: Context, layers: Mapping[str, Layers]
) -> tuple[Covariances, int]:
    """The covariance at each site, and how many samples were read."""
    sizes = {group.name: group.size for group in context.graph.groups}
    sites = {name: _places(found) for name, found in layers.items()}
    covariances = {
        (name, site.place): Covariance(sizes[name])
        for name, found in sites.items()
        for site in found
    }

    def take(name: str, values: Seen) -> None:
        covariances[name, values.site.place].add(values.rows)

    labels = observe(context, sites, take)
    return covariances, len(labels)


def _places(layers: Layers) -> list[Site]:
    """The sites, each place once."""
    return list({site.place: site for site in layers.values()}.values())


def _united(found: Covariances, group: str, layers: Layers) -> Tensor:
    """The covariance of a group's channels over all of its layers."""
    matrices = [found[group, site.place].matrix for site in _places(layers)]
    if len(matrices) == 1:
        return matrices[0]
    return torch.stack(
        [matrix / matrix.trace().clamp_min(TINY) for matrix in matrices]
    ).sum(0)


def _spectrum(name: str, covariance: Tensor, rows: int) -> Spectrum:
    values = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0)
    total = values.sum()
    if total <= 0:  # constant channels: the first explains all there is
        return Spectrum(name, rows, (1.0,) * len(values))
    shares = (values.cumsum(0) / total).clamp_max(1)
    return Spectrum(name, rows, (*shares[:-1].tolist(), 1.0))


def _samples(layers: Mapping[str, Layers]) -> int:
    """How many samples have 100 rows for each channel, by the traced shapes."""
    wanted: dict[bool, list[int]] = {True: [0], False: []}
    for site in (site for found in layers.values() for site in found.values()):
        channels = int(site.channel_of.max()) + 1
        shape = result_shape(site.value)
        positions = max(1, math.prod(shape[1:]) // channels)
        wanted[positions == 1].append(math.ceil(ROWS * channels / positions))
    return max(wanted[False] or wanted[True])
