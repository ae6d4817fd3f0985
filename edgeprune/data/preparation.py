"""How stored values become the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import DataError


@dataclass(frozen=True)
class Scale:
    """Inputs are brought to (x - mean) / std, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Scale a batch of shape (N, C, ...).

        Raises:
            DataError: neither one value nor one for each channel.
        """
        if x.ndim < 2 or len(self.mean) not in (1, x.shape[1]):
            channels = x.shape[1] if x.ndim > 1 else 0
            message = f"--mean and --std have {len(self.mean)} values, the data have "
            raise DataError(f"{message}{channels} channels.")
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (x - mean.reshape(shape)) / std.reshape(shape)


@dataclass(frozen=True)
class Preparation:
    """How a stored value becomes an input, where edgeprune does that.

    Attributes:
        divide_by: what it is divided by first.
        mean, std: by channel, or one for all: (x - mean) / std.
        size: height and width that images are resized to; None leaves them.
        channels: their order; empty where they are no images.
        bytes: whether stored values are numbers from 0 to 255.
    """

    divide_by: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None = None
    channels: str = ""
    bytes: bool = True

    def done(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """Stored values, shape (N, C, H, W), as inputs."""
        shape = (1, -1, 1, 1)
        mean, std = (np.reshape(part, shape) for part in (self.mean, self.std))
        return ((raw.astype(np.float32) / self.divide_by - mean) / std).astype(
            np.float32
        )

    def undone(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Inputs, shape (N, C, H, W), as the bytes that they were made of."""
        shape = (1, -1, 1, 1)
        mean, std = (np.reshape(part, shape) for part in (self.mean, self.std))
        whole = np.rint((x * std + mean) * self.divide_by)
        return np.clip(whole, 0, 255).astype(np.uint8)


def preparation_of(kind: np.dtype[np.generic], scale: Scale | None) -> Preparation:
    """How the values of an array become inputs."""
    whole = kind == np.uint8
    mean, std = ((0.0,), (1.0,)) if scale is None else (scale.mean, scale.std)
    return Preparation(255.0 if whole else 1.0, mean, std, bytes=whole)
