"""An .npz file with x_train, y_train, x_test, y_test (and x_val, y_val), or less."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.data.augment import SHIFTED
from edgeprune.data.memory import free_memory
from edgeprune.data.splits import (
    TEST_SHARE,
    Arrays,
    Reading,
    Splits,
    array_splits,
)
from edgeprune.errors import DataError, first_line

NEEDED = ("x_train", "y_train", "x_test", "y_test")
IMAGE_CHANNELS = (1, 3, 4)


def load(source: str, reading: Reading) -> Splits:
    """Arrays of any shape (N, ...); images (N, H, W[, C]) in bytes are put C first.

    Without any targets, or with nothing but inputs, there are no labels.

    Raises:
        DataError: unreadable, or an array is missing.
    """
    arrays = _read(Path(source))
    if arrays and not any(name.startswith("y") for name in arrays):
        return _unlabelled(source, arrays, reading)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        message = (
            f"{source} lacks {', '.join(missing)}: it must hold {', '.join(NEEDED)} "
            "(x_val and y_val as you like)."
        )
        raise DataError(message)
    images = {
        name: channels_first(arrays[name]) if name.startswith("x") else arrays[name]
        for name in arrays
    }
    given = "x_val" in images and "y_val" in images
    return array_splits(
        Arrays(
            name=source,
            x_train=images["x_train"],
            y_train=images["y_train"],
            x_test=images["x_test"],
            y_test=images["y_test"],
            x_validation=images["x_val"] if given else None,
            y_validation=images["y_val"] if given else None,
            safe_augmentations=SHIFTED if arrays["x_train"].dtype == np.uint8 else (),
        ),
        reading,
    )


def _unlabelled(
    source: str, arrays: dict[str, NDArray[np.generic]], reading: Reading
) -> Splits:
    """Inputs alone, whatever their name; a test split is cut where there is none."""
    train = arrays.get("x_train", next(iter(arrays.values())))
    test = arrays.get("x_test")
    note = "no labels: agreement with the original; "
    if test is None:
        order = np.random.default_rng(0).permutation(len(train))
        cut = max(1, int(len(order) * TEST_SHARE))
        train, test = train[order[cut:]], train[order[:cut]]
        note += f"test: {TEST_SHARE:.0%} cut from the data; "
    parts = [channels_first(part) for part in (train, test)]
    nothing = [np.zeros(len(part), dtype=np.int64) for part in parts]
    pairs = (parts[0], nothing[0], parts[1], nothing[1])
    return array_splits(Arrays(source, *pairs, note=note, labelled=False), reading)


def channels_first(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Byte images (N, H, W) or (N, H, W, C) as (N, C, H, W); anything else as it is."""
    if x.dtype != np.uint8:
        return x
    if x.ndim == 3:
        return x[:, None]
    last = x.ndim == 4 and x.shape[-1] in IMAGE_CHANNELS
    return x.transpose(0, 3, 1, 2) if last else x


def _check_size(path: Path) -> None:
    """Refuse an archive that would not fit in memory: a few MB may unpack to many GB.

    Raises:
        DataError: how much it holds.
    """
    with zipfile.ZipFile(path) as held:
        size = sum(entry.file_size for entry in held.infolist())
    if size > (free := free_memory()):
        sizes = f"{size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise DataError(f"Data file {str(path)!r} holds {sizes}.")


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(f"Data file {str(path)!r} is no .npz archive.")
    what = f"Data file {str(path)!r}"
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except DataError:
        raise
    except Exception as error:  # a damaged archive makes its readers raise anything
        raise DataError(f"{what} cannot be read: {first_line(error)}.") from error
    if other := [name for name, value in arrays.items() if not hasattr(value, "dtype")]:
        raise DataError(f"{what} cannot be read: {other[0]} is no array.")
    return arrays
