"""Folders of images with a picture for each: masks of classes, or what should come out.

`images/` beside `masks/` or `targets/`, with the same names but for the ending; in one
folder, or in `train/`, `val/` and `test/`. Images alone, in no class folder, have no
labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from edgeprune.data.augment import PHOTOS
from edgeprune.data.images import BROKEN, image_shape, opened, upright
from edgeprune.data.labels import joined
from edgeprune.data.memory import free_memory
from edgeprune.data.parts import (
    WHOLE,
    Pair,
    folders_of,
    is_picture,
    part_folders,
    three,
)
from edgeprune.data.splits import Arrays, Reading, Splits, array_splits
from edgeprune.errors import DataError, first_line

IMAGES, MASKS, TARGETS = "images", "masks", "targets"


@dataclass(frozen=True)
class Folder:
    """One folder of images.

    Attributes:
        wanted: the folder of what belongs to each; None where there is none.
    """

    images: Path
    wanted: Path | None

    @classmethod
    def of(cls, root: Path) -> Folder | None:
        """What stands in a folder; None where it is something else."""
        if (root / IMAGES).is_dir():
            held = [root / name for name in (MASKS, TARGETS) if (root / name).is_dir()]
            if len(held) > 1:
                raise DataError(f"{root} has both {MASKS}/ and {TARGETS}/: which?")
            return cls(root / IMAGES, held[0] if held else None)
        if not root.is_dir() or not (loose := pictures(root)):
            return None
        if beside := [at.name for at in folders_of(root) if pictures(at)]:
            message = f"{root} has images ({loose[0].name}), and others in folders"
            raise DataError(
                f"{message} ({beside[0]}): put them into the folder of their class, or "
                "give images of no class alone."
            )
        return cls(root, None)


def is_paired(root: Path) -> bool:
    """Whether a folder holds images with masks or targets, or images alone."""
    if Folder.of(root) is not None:
        return True
    return any((root / name / IMAGES).is_dir() for _, name in part_folders(root))


def load(source: str, reading: Reading, input_shape: tuple[int, ...]) -> Splits:
    """Images resized to the input's height and width, and masks or targets with them.

    Raises:
        DataError: an image without its mask, a broken file, or too many to be kept.
    """
    root, shape = Path(source), image_shape(input_shape)
    whole = Folder.of(root)
    if whole is not None:
        held = {WHOLE: _read(whole, shape)}
    else:
        held = {
            part: _read(_needed(root / name), shape)
            for part, name in part_folders(root)
            if part == "train" or Folder.of(root / name) is not None
        }
    train, test, validation, note = three(source, held)
    if whole and whole.wanted is None:
        note = f"no labels: agreement with the original; {note}"
    note = joined(note, scale_note(reading))
    return array_splits(
        Arrays(
            source,
            *(*train, *test, *validation),
            note=note,
            safe_augmentations=PHOTOS,
            labelled=whole.wanted is not None if whole else True,
        ),
        reading,
    )


def scale_note(reading: Reading) -> str:
    """Say how images are scaled where nobody has said it."""
    if reading.scale is not None:
        return ""
    return "images are scaled to 0..1 (--mean and --std say otherwise)"


def _needed(root: Path) -> Folder:
    folder = Folder.of(root)
    if folder is None or folder.wanted is None:
        message = f"{root} must hold {IMAGES}/ with {MASKS}/ or {TARGETS}/"
        raise DataError(f"{message} beside it.")
    return folder


def _read(folder: Folder, shape: tuple[int, int, int]) -> Pair:
    """All images of a folder, and what belongs to each."""
    paths = pictures(folder.images)
    x = stacked(folder.images, paths, shape)
    if folder.wanted is None:
        return x, np.zeros(len(x), dtype=np.int64)
    named = {path.stem: path for path in pictures(folder.wanted)}
    missing = [path.name for path in paths if path.stem not in named]
    if missing:
        message = f"{folder.wanted} has nothing for {missing[0]}"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{message}{more}.")
    found = [named[path.stem] for path in paths]
    if folder.wanted.name == TARGETS:
        return x, np.stack([opened(str(path), shape).numpy() for path in found])
    return x, np.stack([_mask(path, shape[1:]) for path in found])


def stacked(
    folder: Path, paths: Sequence[Path], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Images of a folder, shape (N, C, H, W), in bytes.

    Raises:
        DataError: a broken file, or too many to be kept.
    """
    if not paths:
        raise DataError(f"{folder} has no image ({', '.join(IMG_EXTENSIONS)}).")
    size = len(paths) * int(np.prod(shape)) * 2
    if size > (free := free_memory()):
        sizes = f"{size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise DataError(f"{folder} holds {len(paths)} images, {sizes}.")
    return np.stack([opened(str(path), shape).numpy() for path in paths])


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    """The classes of pixels: the numbers that the file holds, its palette apart."""
    try:
        with Image.open(path) as image:
            held = upright(image).resize((size[1], size[0]), Image.Resampling.NEAREST)
            values = np.asarray(held)
    except BROKEN as error:
        message = f"Mask {str(path)!r} cannot be read: {first_line(error)}"
        raise DataError(f"{message}.") from error
    if values.ndim != 2 or values.dtype.kind not in "biu":
        message = f"Mask {str(path)!r} must hold one class number for each pixel"
        raise DataError(f"{message}, found {image.mode}.")
    return values.astype(np.int64)


def pictures(folder: Path) -> list[Path]:
    """The images that lie in a folder, in order, without what systems hide there."""
    return sorted(filter(is_picture, folder.iterdir()))
