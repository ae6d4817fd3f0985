"""The embedded example: a meter of 8 digits, from scikit-learn's handwritten digits.

1797 digits of 8x8 pixels, scaled up to 32x32, split once and for all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from edgeprune.data.augment import CHARACTERS
from edgeprune.data.splits import (
    TEST_SHARE,
    Arrays,
    Reading,
    Splits,
    array_splits,
    split_off,
)

SIZE = 32
BATCH = 8  # a meter has 8 digits, read in one call


def load(_: str, reading: Reading) -> Splits:
    """Digits as float inputs 0..1 of shape (1, 32, 32)."""
    from sklearn.datasets import load_digits  # slow to import

    pixels, digits = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    x = functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear").numpy()
    y = np.asarray(digits, dtype=np.int64)
    x_train, x_test, y_train, y_test = split_off(x, y, TEST_SHARE)
    arrays = Arrays(
        "digits", x_train, y_train, x_test, y_test, safe_augmentations=CHARACTERS
    )
    return array_splits(arrays, reading)
