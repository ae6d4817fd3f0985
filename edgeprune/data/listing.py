"""Lists the images of a folder by class, each once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from edgeprune.data.classes import number_folders
from edgeprune.data.parts import HIDDEN, folders_of, is_picture
from edgeprune.data.splits import Reading
from edgeprune.errors import DataError

Files = list[tuple[str, int]]  # paths and classes


def images_by_class(root: Path, reading: Reading) -> tuple[list[str], Files]:
    """Names of the class folders in order, and every image below them.

    Anything but regular files, as a pipe, is passed over.

    Args:
        reading: says which output of the network each folder is.

    Raises:
        DataError: no class folders, one without images, or links by which a folder is
            met twice: an image would count twice, perhaps as another class; one that
            is no output.
    """
    what = f"Data folder {str(root)!r} must hold one folder of images per class"
    try:
        classes = [path.name for path in folders_of(root)]
    except OSError as error:
        raise DataError(f"{what}: {error.strerror or error}.") from error
    if not classes:
        raise DataError(f"{what}: there is no folder in it.")
    files: Files = []
    seen: set[str] = set()
    for label, name in zip(
        number_folders(root, classes, reading), classes, strict=True
    ):
        found = sorted(_images(root / name, seen))
        if not found:
            endings = ", ".join(IMG_EXTENSIONS)
            raise DataError(f"{what}: {name!r} has no image ({endings}).")
        files += [(path, label) for path in found]
    return classes, files


def _images(folder: Path, seen: set[str]) -> Iterator[str]:
    """The images below a folder, through links to other folders, too."""
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(HIDDEN)]
        real = os.path.realpath(place)
        if real in seen:
            message = f"Data folder {str(folder)!r}: links lead to {real!r} twice"
            raise DataError(f"{message}: its images would count twice.")
        seen.add(real)
        for name in names:
            if is_picture(path := Path(place, name)):
                yield str(path)
