"""A folder of images by class: `train/ val/ test/`, or one folder that gets split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

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
    spread,
)
from edgeprune.errors import DataError

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which published weights expect
STD = (0.229, 0.224, 0.225)
VALIDATION_NAMES = ("val", "validation", "valid")


def load(source: str, reading: Reading, input_shape: tuple[int, ...]) -> Splits:
    """Images resized to the input's height and width, scaled as ImageNet's are.

    Raises:
        DataError: no images, or class folders that differ between the splits.
    """
    root = Path(source)
    transform = _transform(input_shape, reading.scale)
    folders = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if "train" in folders:
        sets, note = _given_splits(folders, transform)
    else:
        sets, note = _cut(_images(root, transform)), "split by edgeprune: 70/15/15"
    labels = [torch.tensor(_labels(item)) for item in sets]
    train, validation, test = sets
    batch_size = reading.batch_size
    return check(
        Splits(
            name=source,
            train=DataLoader(
                train, batch_size, shuffle=True, generator=shuffling(reading)
            ),
            validation=DataLoader(validation, batch_size),
            test=DataLoader(test, batch_size),
            calibration=DataLoader(
                Subset(train, spread(len(labels[0]))),
                batch_size,  # classes mixed
            ),
            classes=count_classes(source, labels),
            sample_shape=tuple(train[0][0].shape),
            sizes=(len(labels[0]), len(labels[1]), len(labels[2])),
            note=note,
        )
    )


def _transform(input_shape: tuple[int, ...], scale: Scale | None) -> v2.Compose:
    channels, height, width = input_shape
    scale = scale or Scale(MEAN[:channels], STD[:channels])
    steps: list[Any] = [v2.ToImage()]
    if channels == 1:
        steps.append(v2.Grayscale())
    steps += [
        v2.Resize((height, width), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(scale.mean), list(scale.std)),
    ]
    return v2.Compose(steps)


def _images(root: Path, transform: v2.Compose) -> ImageFolder:
    try:
        return ImageFolder(str(root), transform=transform, loader=_open)
    except (FileNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = (
            f"Data folder {str(root)!r} must hold one folder of images per class: "
            f"{reason}"
        )
        raise DataError(message) from error


def _open(path: str) -> Image.Image:
    """One image, decoded.

    Raises:
        DataError: which file is broken.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"Image {path} cannot be read: {error}.") from error


def _given_splits(
    folders: dict[str, Path], transform: v2.Compose
) -> tuple[list[Dataset[tuple[Tensor, int]]], str]:
    train = _images(folders["train"], transform)
    name = next((item for item in VALIDATION_NAMES if item in folders), None)
    held = {
        key: _images(folders[key], transform)
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
        return [train, held[name], held["test"]], "split by the folder"
    rest, part = _part(train, VALIDATION_SHARE)
    if name is None and "test" not in held:
        rest, test = _part(rest, TEST_SHARE)
        return [rest, part, test], "validation and test cut from train/"
    if name is None:
        return [rest, part, held["test"]], "validation cut from train/"
    return [rest, held[name], part], "test cut from train/"


def _cut(images: ImageFolder) -> list[Dataset[tuple[Tensor, int]]]:
    rest, test = _part(images, TEST_SHARE)
    train, validation = _part(rest, VALIDATION_SHARE / (1 - TEST_SHARE))
    return [train, validation, test]


def _part(
    images: Dataset[tuple[Tensor, int]], share: float
) -> tuple[Subset[tuple[Tensor, int]], Subset[tuple[Tensor, int]]]:
    labels = np.array(_labels(images))
    if len(labels) < 4:
        raise DataError(f"{len(labels)} images are too few to split.")
    rest, part, _, _ = split_off(np.arange(len(labels)), labels, share)
    return Subset(images, rest.tolist()), Subset(images, part.tolist())


def _labels(images: Any) -> list[int]:
    if isinstance(images, Subset):
        own = _labels(images.dataset)
        return [own[index] for index in images.indices]
    return list(images.targets)
