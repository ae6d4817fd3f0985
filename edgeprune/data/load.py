"""`--data` to splits: which loader a description is meant for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeprune.data import boxes, digits, factory, folder, npz, paired
from edgeprune.data.splits import Reading, Splits
from edgeprune.errors import DataError

Loader = Callable[..., Splits]

# By the kind of description: what it looks like is decided in `_kind`.
SOURCES: dict[str, Loader] = {
    "digits": digits.load,
    "npz": npz.load,
    "folder": folder.load,
    "torchvision": factory.load_torchvision,
    "factory": factory.load,
}


def load_data(
    source: str, reading: Reading, input_shape: tuple[int, ...] | None = None
) -> Splits:
    """A data set by its description on the command line.

    Args:
        input_shape: what images of a folder are resized to, (C, H, W).

    Raises:
        DataError: no such data, unreadable, or unfit for training a classifier.
    """
    kind, rest = _kind(source)
    if kind != "folder" and reading.classes is not None:
        message = f"--classes is for folders of images; {source} has none"
        raise DataError(f"{message}: its labels are the outputs.")
    if kind != "folder":
        return SOURCES[kind](rest, reading)
    if input_shape is None or len(input_shape) != 3:
        raise DataError("An image folder needs --input CxHxW, such as --input 3x64x64.")
    if boxes.is_boxes(Path(rest)):
        return boxes.load(rest, reading, input_shape)
    if paired.is_paired(Path(rest)):
        return paired.load(rest, reading, input_shape)
    return SOURCES[kind](rest, reading, input_shape)


def _kind(source: str) -> tuple[str, str]:
    if source == "digits":
        return "digits", source
    if source.startswith("torchvision:"):
        return "torchvision", source.removeprefix("torchvision:")
    path = Path(source).expanduser()
    if path.is_dir():
        return "folder", str(path)
    if path.suffix == ".npz":
        return "npz", str(path)
    if ":" in source:
        return "factory", source
    if path.is_file():
        message = f"Data file {source!r} is no .npz archive: numpy.savez makes one"
        raise DataError(f"{message}, of arrays such as x_train and y_train.")
    if "/" in source:
        raise DataError(f"Data folder or file {source!r} does not exist.")
    message = (
        f"Unknown data {source!r}: there is no such folder or file. Give 'digits', a "
        "folder of images, an .npz file, torchvision:NAME@ROOT, "
        "package.module:factory, or 'noise' where there is no data."
    )
    raise DataError(message)
