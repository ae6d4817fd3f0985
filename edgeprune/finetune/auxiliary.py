"""Losses beside the one that counts: other things for the last feature map to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.finetune.feature_maps import FeatureMap, last_feature_map
from edgeprune.finetune.losses import attention_distance, masked_mean_square

HEAD_WIDTH = 64  # channels between the two layers of the second head
REGION = (0.25, 0.5)  # of each side, what is cut out


class Auxiliary(ABC):
    """A loss that is added with a weight; nothing of it is kept after training.

    Attributes:
        head: what learns along and is dropped.
    """

    weight: float
    head: nn.Module

    def given(self, x: Tensor) -> Tensor:
        """What the learner is given in place of a batch."""
        return x

    @abstractmethod
    def watching(
        self, learner: nn.Module, teacher: nn.Module | None
    ) -> AbstractContextManager[object]:
        """Inside, both are run."""

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """After they were run on a batch; without the weight."""


class Attention(Auxiliary):
    """Where the learner looks at last is where the teacher looks.

    Args:
        x: a batch of inputs, to find the feature maps with.

    Raises:
        WorkloadError: one of them makes no feature map.
    """

    weight = 1.0

    def __init__(self, learner: nn.Module, teacher: nn.Module, x: Tensor) -> None:
        self.head = nn.Identity()
        self._found = last_feature_map(learner, x)
        self._wanted = last_feature_map(teacher, x)

    def watching(
        self, learner: nn.Module, teacher: nn.Module | None
    ) -> AbstractContextManager[object]:
        """Both feature maps."""
        assert teacher is not None  # as it was made
        stack = ExitStack()
        stack.enter_context(self._found.watched(learner))
        stack.enter_context(self._wanted.watched(teacher))
        return stack

    def loss(self, x: Tensor) -> Tensor:  # noqa: ARG002  others need it
        """The distance of the attention maps; none if their sizes differ."""
        found, wanted = self._found.value, self._wanted.value
        if found.shape[2:] != wanted.shape[2:]:
            wanted = functional.interpolate(wanted, tuple(found.shape[2:]))
        return attention_distance(found, wanted)


class Inpainting(Auxiliary):
    """A second head tells from the last feature map what a cut-out region held.

    Hendrycks et al., "Using Self-Supervised Learning Can Improve Model Robustness and
    Uncertainty", 2019, add such a head; Pathak et al., "Context Encoders", 2016, let it
    fill in a region.

    Args:
        x: a batch of inputs, shape (N, channels, H, W).

    Raises:
        WorkloadError: the learner makes no feature map.
    """

    def __init__(self, learner: nn.Module, x: Tensor, weight: float) -> None:
        self.weight = weight
        self._map: FeatureMap = last_feature_map(learner, x)
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
        learner: nn.Module,
        teacher: nn.Module | None,  # noqa: ARG002  others need it
    ) -> AbstractContextManager[object]:
        """The learner's feature map."""
        return self._map.watched(learner)

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
