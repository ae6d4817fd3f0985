"""A folder's parts: what they are called, and what is cut where some are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from edgeprune.data.splits import FEWEST, TEST_SHARE, VALIDATION_SHARE
from edgeprune.errors import DataError

# What parts are called by those who split data.
PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
HIDDEN = (".", "__")  # such as .git, .ipynb_checkpoints, __MACOSX
WHOLE = "all"  # what is not split
Pair = tuple[Any, Any]  # inputs, and what belongs to them


def is_picture(path: Path) -> bool:
    """Whether it is an image, and none that a system hides, as a Mac does ._0.png."""
    return (
        path.name.lower().endswith(IMG_EXTENSIONS)
        and not path.name.startswith(".")
        and path.is_file()
    )


def folders_of(root: Path) -> list[Path]:
    """The folders in one, in order, without what systems and tools hide there."""
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(HIDDEN)
    )


def part_folders(root: Path) -> Iterator[tuple[str, str]]:
    """The parts of the data that have a folder, and what they are called there."""
    names = [path.name for path in folders_of(root)]
    for part, usual in PART_NAMES.items():
        for name in names:
            if name.lower().rstrip("0123456789") in usual:
                yield part, name
                break


def three(source: str, held: Mapping[str, Pair]) -> tuple[Pair, Pair, Pair, str]:
    """(training, test, validation, how they came about): those given, the rest cut.

    Args:
        held: by part; all under `WHOLE` where they are not split.

    Raises:
        DataError: no training part, or too few samples to cut.
    """
    if WHOLE in held:
        rest, test = _cut(held[WHOLE], TEST_SHARE)
        train, validation = _cut(rest, VALIDATION_SHARE / (1 - TEST_SHARE))
        return train, test, validation, "split by edgeprune: 70/15/15"
    if "train" not in held:
        raise DataError(f"{source} has no train/ among {', '.join(held)}.")
    train, test, validation = held["train"], held.get("test"), held.get("val")
    note = "split by the folder"
    if test is None or validation is None:
        note += ", what is missing cut from train/"
    if test is None:
        train, test = _cut(train, TEST_SHARE)
    if validation is None:
        train, validation = _cut(train, VALIDATION_SHARE)
    return train, test, validation, note


def _cut(held: Pair, share: float) -> tuple[Pair, Pair]:
    """The rest, and a part that is drawn."""
    x, y = held
    if len(x) < FEWEST:
        raise DataError(f"{len(x)} images are too few to split.")
    order = np.random.default_rng(0).permutation(len(x))
    count = max(1, int(len(x) * share))
    part, rest = np.sort(order[:count]), np.sort(order[count:])
    return (x[rest], y[rest]), (x[part], y[part])
