"""An .npz file of arrays, split or not, with targets or without, of one input or more.

An array is `NAME`, `NAME_train` or `train_NAME` (or of `val`, `test`): `x_train`,
`y_train`, `x_test`, `y_test` for instance, or `train_images`, `train_labels`. `y`,
`label` and `target` are what is to be learnt; all others are inputs, of which several
go to the network by their names. What is not split is, and a test split is cut from
what has none.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeprune.data.augment import SHIFTED
from edgeprune.data.labels import as_float, as_tensors
from edgeprune.data.memory import free_memory
from edgeprune.data.parts import PART_NAMES, WHOLE, Pair
from edgeprune.data.splits import (
    TEST_SHARE,
    Arrays,
    Reading,
    Splits,
    array_splits,
    check_pair,
    split_off,
)
from edgeprune.errors import DataError, first_line
from edgeprune.tasks import Structure

TARGETS = ("y", "label", "labels", "target", "targets")
PARTS = {name: part for part, names in PART_NAMES.items() for name in names}
WORDS = "SU"
IMAGE_CHANNELS = (1, 3, 4)
Named = dict[str, NDArray[np.generic]]


def load(source: str, reading: Reading) -> Splits:
    """Arrays of any shape (N, ...); images (N, H, W[, C]) in bytes are put C first.

    Raises:
        DataError: unreadable, or an array is missing.
    """
    held = _by_part(source, _read(Path(source)))
    first = next(iter(held.values()))
    labelled = any(map(_is_target, first))
    if len(inputs := _inputs(first)) > 1 and reading.scale is not None:
        message = f"--mean and --std do not go with {source}"
        raise DataError(f"{message}, which holds {', '.join(inputs)}: scale it before.")
    pairs = {part: _pair(source, named) for part, named in held.items()}
    note = "" if labelled else "no labels: agreement with the original; "
    if WHOLE in pairs:
        note += f"test: {TEST_SHARE:.0%} cut from the data; "
        check_pair(source, *pairs[WHOLE])
        x, x_test, y, y_test = split_off(*pairs[WHOLE], TEST_SHARE)
        pairs = {"train": (x, y), "test": (x_test, y_test)}
    several = _structure(inputs) if len(inputs) > 1 else None
    images = several is None and next(iter(inputs.values())).dtype == np.uint8
    return array_splits(
        Arrays(
            source,
            *pairs["train"],
            *pairs["test"],
            *pairs.get("val", (None, None)),
            note=note,
            safe_augmentations=SHIFTED if images else (),
            labelled=labelled,
            structure=several,
        ),
        reading,
    )


def _by_part(source: str, arrays: Named) -> dict[str, Named]:
    """Arrays by the part of the data and their name in it; all of one part, or split.

    Raises:
        DataError: an array is missing.
    """
    _check_targets(source, arrays)
    held: dict[str, Named] = {}
    labelled = any(_is_target(_part_of(name)[1]) for name in arrays)
    for name, array in arrays.items():
        part, own = _part_of(name)
        words = array.dtype.kind in WORDS  # names of classes and the like
        if labelled and words and not _is_target(own):
            continue
        held.setdefault(part, {})[own] = array
    if set(held) != {WHOLE}:
        held.pop(WHOLE, None)  # what goes with it, such as names
    if "train" in held and "test" not in held and "val" not in held:
        held = {WHOLE: held["train"]}
    known = {own: None for named in held.values() for own in named}
    needed = list(held) if WHOLE in held else ["train", "test"]
    needed += ["val"] if "val" in held else []
    missing = [
        own if part == WHOLE else f"{own}_{part}"
        for part in needed
        for own in known
        if own not in held.get(part, {})
    ]
    if missing or not _inputs(known):
        lacks = ", ".join(missing) or "inputs"
        message = f"{source} lacks {lacks}: it must hold inputs and targets"
        raise DataError(f"{message}, such as x_train, y_train, x_test, y_test.")
    return {part: {own: held[part][own] for own in known} for part in needed}


def _check_targets(source: str, arrays: Named) -> None:
    """Refuse two targets, of which one would be left out.

    Raises:
        DataError: what they are called.
    """
    numbers = [name for name, item in arrays.items() if item.dtype.kind not in WORDS]
    owns = dict.fromkeys(_part_of(name)[1] for name in numbers)
    if len(found := [own for own in owns if _is_target(own)]) > 1:
        message = f"{source} holds {' and '.join(found)}, which are both targets"
        raise DataError(f"{message}: leave the one there that is to be learnt.")


def _part_of(name: str) -> tuple[str, str]:
    """The part that an array belongs to, and its own name."""
    before, _, after = name.partition("_")
    if before.lower() in PARTS and after:
        return PARTS[before.lower()], after
    own, _, part = name.rpartition("_")
    part = part.lower()
    return (PARTS[part], own) if part in PARTS and own else (WHOLE, name)


def _is_target(name: str) -> bool:
    return name.lower() in TARGETS


def _inputs(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in named.items() if not _is_target(name)}


def _pair(source: str, named: Named) -> Pair:
    """Inputs, in rows where there are several, and targets; zeros for none."""
    inputs = _inputs(named)
    first = next(iter(inputs.values()))
    y = next(
        (named[name] for name in named if _is_target(name)),
        np.zeros(len(first) if first.ndim else 0, dtype=np.int64),
    )
    if len(inputs) == 1:
        return channels_first(first), y
    for name, array in inputs.items():
        check_pair(f"{source}, array {name},", array.reshape(*array.shape, 1), y)
    return _structure(inputs).packed(_tensors(inputs)).numpy(), y


def _structure(inputs: Named) -> Structure:
    return Structure.of(_tensors(inputs), "input")


def _tensors(inputs: Named) -> dict[str, torch.Tensor]:
    """Inputs by name: pictures in bytes as 0..1, other whole numbers as they are."""
    found = {name: as_tensors(channels_first(item)) for name, item in inputs.items()}
    return {
        name: as_float(item)
        if item.is_floating_point() or (item.dtype == torch.uint8 and item.ndim > 2)
        else item
        for name, item in found.items()
    }


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
