"""A folder of images by class: `train/ val/ test/`, or one folder that gets split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import ImageFolder

from edgeprune.data.augment import for_classes
from edgeprune.data.images import ImageBatches, Images, fits
from edgeprune.data.splits import (
    TEST_SHARE,
    VALIDATION_SHARE,
    Reading,
    Scale,
    Splits,
    check,
    count_classes,
    shuffling,
    split_off,
)
from edgeprune.errors import DataError

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which published weights expect
STD = (0.229, 0.224, 0.225)
VALIDATION_NAMES = ("val", "validation", "valid")
Files = list[tuple[str, int]]  # paths and classes


def load(source: str, reading: Reading, input_shape: tuple[int, ...]) -> Splits:
    """Images resized to the input's height and width, scaled as ImageNet's are.

    Raises:
        DataError: no images, or class folders that differ between the splits.
    """
    root = Path(source)
    folders = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if "train" in folders:
        parts, note = _given_splits(folders)
        classes = _listed(folders["train"]).classes
    else:
        listed = _listed(root)
        parts, note = _cut(listed.samples), "split by edgeprune: 70/15/15"
        classes = listed.classes
    channels, height, width = input_shape
    shape = (channels, height, width)
    keep = fits(sum(map(len, parts)), shape)
    train, validation, test = (
        Images(
            tuple(path for path, _ in files),
            torch.tensor([label for _, label in files]),
            shape,
            keep,
        )
        for files in parts
    )
    scale = reading.scale or Scale(MEAN[:channels], STD[:channels])
    return check(
        Splits(
            name=source,
            train=ImageBatches(train, reading, scale, shuffling(reading)),
            validation=ImageBatches(validation, reading, scale),
            test=ImageBatches(test, reading, scale),
            calibration=ImageBatches(train, reading, scale, mixed=True),
            classes=count_classes(
                source, [train.labels, validation.labels, test.labels]
            ),
            sample_shape=shape,
            sizes=(len(train), len(validation), len(test)),
            note=note if keep else f"{note}; too large to be kept in memory",
            safe_augmentations=for_classes(classes),
        )
    )


def _listed(root: Path) -> ImageFolder:
    try:
        return ImageFolder(str(root))
    except (FileNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = (
            f"Data folder {str(root)!r} must hold one folder of images per class: "
            f"{reason}"
        )
        raise DataError(message) from error


def _given_splits(folders: dict[str, Path]) -> tuple[list[Files], str]:
    train = _listed(folders["train"])
    name = next((item for item in VALIDATION_NAMES if item in folders), None)
    held = {
        key: _listed(folders[key])
        for key in (name, "test" if "test" in folders else None)
        if key
    }
    for key, images in held.items():
        if images.classes != train.classes:
            message = (
                f"Class folders of {key}/ and train/ differ: {images.classes[:5]} "
                f"against {train.classes[:5]}."
            )
            raise DataError(message)
    if name and "test" in held:
        parts = [train.samples, held[name].samples, held["test"].samples]
        return parts, "split by the folder"
    rest, part = _part(train.samples, VALIDATION_SHARE)
    if name is None and "test" not in held:
        rest, test = _part(rest, TEST_SHARE)
        return [rest, part, test], "validation and test cut from train/"
    if name is None:
        return [rest, part, held["test"].samples], "validation cut from train/"
    return [rest, held[name].samples, part], "test cut from train/"


def _cut(files: Files) -> list[Files]:
    rest, test = _part(files, TEST_SHARE)
    train, validation = _part(rest, VALIDATION_SHARE / (1 - TEST_SHARE))
    return [train, validation, test]


def _part(files: Sequence[tuple[str, int]], share: float) -> tuple[Files, Files]:
    if len(files) < 4:
        raise DataError(f"{len(files)} images are too few to split.")
    labels = np.array([label for _, label in files])
    rest, part, _, _ = split_off(np.arange(len(files)), labels, share)
    return [files[at] for at in rest], [files[at] for at in part]
