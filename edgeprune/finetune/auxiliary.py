"""Losses beside the one that counts: other things for feature maps to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.finetune.feature_maps import (
    FeatureMap,
    alike,
    last_feature_map,
    shared_feature_maps,
)
from edgeprune.finetune.losses import masked_mean_square
from edgeprune.graph.forward import evaluating

HEAD_WIDTH = 64  # channels between the two layers of the second head
FEW, SEEN = 2, 32  # samples, to find out what maps there are, and what is on them
ROWS = 16384  # positions on a map that a regressor is fitted to at first
REGION = (0.25, 0.5)  # of each side, what is cut out
RIDGE = 1e-3  # of the mean square of what is read
LEAST = 1e-12  # in its place where all that is read is zero
CONSTANT = 1e-6  # of the mean square: a variance that is none


class Auxiliary(ABC):
    """A loss that is added with a weight; nothing of it is kept after training.

    Attributes:
        head: what learns along and is dropped.
    """

    weight: float
    head: nn.Module

    def given(self, x: Tensor) -> Tensor:
        """Return the input that the network gets in place of a batch."""
        return x

    @abstractmethod
    def watching(
        self, network: nn.Module, teacher: nn.Module | None
    ) -> AbstractContextManager[object]:
        """Inside, both are run."""

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """After they were run on a batch; without the weight."""


class Hints(Auxiliary):
    """The network makes the teacher's feature maps on the way, not its outputs only.

    Romero et al., "FitNets: Hints for Thin Deep Nets", 2015. Maps that are the same
    everywhere, as of a dead branch, are no hints.

    Args:
        x: a batch of inputs, shape (N, ...), to find the feature maps with.
    """

    weight = 10.0

    def __init__(self, network: nn.Module, teacher: nn.Module, x: Tensor) -> None:
        self._pairs = shared_feature_maps(network, teacher, x[:FEW])
        with self.watching(network, teacher), torch.no_grad():
            for model in (network, teacher):
                with evaluating(model):
                    model(x[:SEEN])
        self._pairs = [pair for pair in self._pairs if not _constant(pair[1].value)]
        self._hints = [
            Hint(found.taken(), wanted.taken()) for found, wanted in self._pairs
        ]
        self.head = nn.ModuleList(self._hints)

    @property
    def modules(self) -> tuple[str, ...]:
        """Those whose maps are compared."""
        return tuple(found.module for found, _ in self._pairs)

    def watching(
        self, network: nn.Module, teacher: nn.Module | None
    ) -> AbstractContextManager[object]:
        """The feature maps of both."""
        assert teacher is not None  # as it was made
        stack = ExitStack()
        for found, wanted in self._pairs:
            stack.enter_context(found.watched(network))
            stack.enter_context(wanted.watched(teacher))
        return stack

    def loss(self, x: Tensor) -> Tensor:
        """The share of the teacher's maps that is missed, mean over the maps."""
        maps = [(found.taken(), wanted.taken()) for found, wanted in self._pairs]
        shares = [
            hint(found, wanted)
            for hint, (found, wanted) in zip(self._hints, maps, strict=True)
            if alike(found, wanted)  # code may do without some
        ]
        return sum(shares, x.new_zeros(())) / max(len(shares), 1)


class Hint(nn.Module):
    """A network's feature map beside the teacher's.

    Where it has another number of channels a regressor brings it to the teacher's: a
    linear map that learns along, at first the one that least squares finds.

    Args:
        found, wanted: both maps of some inputs, shapes (N, channels, ...), alike but
            for the channels.
    """

    variance: Tensor

    def __init__(self, found: Tensor, wanted: Tensor) -> None:
        super().__init__()
        self.register_buffer("variance", wanted.float().var())
        self.regressor: nn.Linear | None = None
        if found.shape[1] != wanted.shape[1]:
            self.regressor = nn.Linear(found.shape[1], wanted.shape[1])
            weight, bias = _least_squares(_rows(found), _rows(wanted))
            with torch.no_grad():
                self.regressor.weight.copy_(weight)
                self.regressor.bias.copy_(bias)

    def forward(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean square difference, as a share of the teacher's variance."""
        found = found.float()
        if self.regressor is not None:
            found = self.regressor(found.movedim(1, -1)).movedim(-1, 1)
        return (found - wanted.float()).square().mean() / self.variance


def _constant(value: Tensor) -> bool:
    """Whether a map says nothing of what is seen."""
    value = value.float()
    return not bool(value.var() > CONSTANT * value.square().mean())


def _rows(value: Tensor) -> Tensor:
    """Positions of all samples, not too many, shape (rows, channels)."""
    rows = value.movedim(1, -1).flatten(0, -2)
    return rows[:: -(-len(rows) // ROWS)].double()


def _least_squares(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map between rows, with a ridge: shapes (out, in) and (out,)."""
    means = given.mean(0), wanted.mean(0)
    given, wanted = given - means[0], wanted - means[1]
    square = given.T @ given
    ridge = (RIDGE * square.diagonal().mean()).clamp_min(LEAST)
    square.diagonal().add_(ridge)
    weight = torch.linalg.solve(square, given.T @ wanted).T
    return weight, means[1] - weight @ means[0]


class Inpainting(Auxiliary):
    """A second head tells from the last feature map what a cut-out region held.

    Hendrycks et al., "Using Self-Supervised Learning Can Improve Model Robustness and
    Uncertainty", 2019, add such a head; Pathak et al., "Context Encoders", 2016, let it
    fill in a region.

    Args:
        x: a batch of inputs, shape (N, channels, H, W).

    Raises:
        WorkloadError: the network makes no feature map.
    """

    def __init__(self, network: nn.Module, x: Tensor, weight: float) -> None:
        self.weight = weight
        self._map: FeatureMap = last_feature_map(network, x)
        channels, sides = self._map.value.shape[1], self._map.value.shape[2:]
        whole = zip(x.shape[2:], sides, strict=True)
        scale = max(-(-side // part) for side, part in whole)
        self.head = nn.Sequential(
            nn.Conv2d(channels, HEAD_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HEAD_WIDTH, x.shape[1] * scale**2, 1),
            nn.PixelShuffle(scale),
        )
        self._mask = torch.zeros(1)

    def given(self, x: Tensor) -> Tensor:
        """A batch with a region of each image set to zero."""
        self._mask = regions(len(x), x.shape[2], x.shape[3]).to(x.device)
        return x * (1 - self._mask)

    def watching(
        self,
        network: nn.Module,
        teacher: nn.Module | None,  # noqa: ARG002  others need it
    ) -> AbstractContextManager[object]:
        """The network's feature map."""
        return self._map.watched(network)

    def loss(self, x: Tensor) -> Tensor:
        """Mean square error in the regions."""
        found = self.head(self._map.value.float())
        if found.shape[2:] != x.shape[2:]:
            found = functional.interpolate(found, tuple(x.shape[2:]))
        return masked_mean_square(found, x, self._mask)


def regions(count: int, height: int, width: int) -> Tensor:
    """1 in a rectangle of each image, drawn from torch's generator, else 0.

    Returns:
        Shape (count, 1, height, width).
    """
    rows, columns = (_spans(count, side) for side in (height, width))
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()


def _spans(count: int, side: int) -> Tensor:
    """A random part of an axis for each of so many, shape (count, side)."""
    low, high = REGION
    lengths = ((low + (high - low) * torch.rand(count)) * side).round().clamp_min(1)
    begins = (torch.rand(count) * (side - lengths + 1)).floor()
    at = torch.arange(side)
    return (at >= begins[:, None]) & (at < (begins + lengths)[:, None])
