"""Images whose class shows in the brightness of a channel."""

import torch
from torch.utils.data import TensorDataset

from edgeprune.data.factory import splits_of
from edgeprune.data.splits import Arrays, Reading

CLASSES = 4


def colours(count=400, size=16, seed=0):
    """Arrays: images of shape (count, 3, size, size), and their classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % CLASSES
    x = 0.3 * torch.randn(count, 3, size, size, generator=generator)
    x[:, 0] += y[:, None, None] - 1.5
    return x.numpy(), y.numpy()


def coloured_parts():
    """Training, validation and test samples of 16 pixels, as a user hands them over."""
    x, y = map(torch.from_numpy, colours())
    return tuple(
        TensorDataset(x[part], y[part])
        for part in (slice(240), slice(240, 300), slice(300, 400))
    )


def coloured_arrays():
    """The same as arrays, without a validation split."""
    x, y = colours()
    return Arrays("colours", x[:300], y[:300], x[300:], y[300:])


def splits(batch=16, seed=0, size=8):
    """Small images, for training loops."""
    x, y = colours(320, size)
    arrays = Arrays("colours", x[:240], y[:240], x[240:], y[240:])
    return splits_of("colours", arrays, Reading(batch, seed))
