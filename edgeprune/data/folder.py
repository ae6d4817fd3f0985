"""A folder of images by class: `train/ val/ test/`, or one folder that gets split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edgeprune.data.augment import for_classes
from edgeprune.data.classes import number_folders
from edgeprune.data.images import (
    ImageBatches,
    Images,
    check_images,
    fits,
    image_shape,
)
from edgeprune.data.labels import count_classes, joined, missing_note
from edgeprune.data.listing import Files, images_by_class
from edgeprune.data.parts import folders_of, part_folders
from edgeprune.data.splits import (
    FEWEST,
    TEST_SHARE,
    VALIDATION_SHARE,
    Preparation,
    Reading,
    Scale,
    Splits,
    check,
    shuffling,
    split_off,
)
from edgeprune.errors import DataError

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which published weights expect
STD = (0.229, 0.224, 0.225)
ONE = Scale((0.0,), (1.0,))  # leaves 0..1 as it is
BOTH = ("validation", "test")


def load(source: str, reading: Reading, input_shape: tuple[int, ...]) -> Splits:
    """Images resized to the input's height and width, brought to the model's scale.

    Without --mean and --std colours are scaled as ImageNet's are, grey to 0..1.

    Raises:
        DataError: no images, or class folders that differ between the splits.
    """
    shape = image_shape(input_shape)
    root = Path(source)
    folders = {part: root / name for part, name in part_folders(root)}
    if "train" in folders and not _is_class(folders["train"], len(folders)):
        parts, note, cut = _given_splits(folders, reading)
        classes, _ = images_by_class(folders["train"], reading)
    else:
        _check_no_parts(root)
        classes, files = images_by_class(root, reading)
        parts, note, cut = _cut(files), "split by edgeprune: 70/15/15", BOTH
    keep = fits(sum(map(len, parts)), shape)
    train, validation, test = (_images(files, shape, keep=keep) for files in parts)
    labels = [train.labels, validation.labels, test.labels]
    scale = reading.scale or (ONE if shape[0] == 1 else Scale(MEAN, STD))
    return check(
        Splits(
            name=source,
            train=ImageBatches(train, reading, scale, shuffling(reading)),
            validation=ImageBatches(validation, reading, scale),
            test=ImageBatches(test, reading, scale),
            calibration=ImageBatches(train, reading, scale, mixed=True),
            classes=count_classes(source, labels),
            sample_shape=shape,
            sizes=(len(train), len(validation), len(test)),
            note=joined(
                note,
                "" if keep else "too large to be kept in memory",
                missing_note(labels),
            ),
            safe_augmentations=for_classes(classes),
            preprocessing=_said(scale, guessed=reading.scale is None),
            preparation=_preparation(scale, shape),
            class_names=_names(classes, reading),
            guessed_scale=scale if reading.scale is None else None,
            cut_from_training=cut,
        )
    )


def _is_class(train: Path, parts: int) -> bool:
    """Whether it is the class of trains: no classes in it, and others beside it."""
    return not folders_of(train) and len(folders_of(train.parent)) > parts


def _check_no_parts(root: Path) -> None:
    """Refuse folders of all classes each, which are parts of other names.

    Raises:
        DataError: what they are called.
    """
    held = folders_of(root)
    inside = {tuple(path.name for path in folders_of(folder)) for folder in held}
    if len(held) > 1 and len(inside) == 1 and len(inside.pop()) > 1:
        names = ", ".join(folder.name for folder in held)
        message = f"{root} has the same folders in each of {names}: call those"
        raise DataError(f"{message} train, val and test, or give one of them.")


def _preparation(scale: Scale, shape: tuple[int, int, int]) -> Preparation:
    channels, height, width = shape
    order = "RGB" if channels == 3 else "grey"
    return Preparation(255.0, scale.mean, scale.std, (height, width), order)


def _names(folders: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """The names of classes in the order of the outputs; none where some are missing."""
    numbers = number_folders(Path(), list(folders), reading)
    if sorted(numbers) != list(range(len(folders))):
        return ()
    return tuple(name for _, name in sorted(zip(numbers, folders, strict=True)))


def _images(files: Files, shape: tuple[int, int, int], *, keep: bool) -> Images:
    """One split's images, each looked at."""
    paths, labels = zip(*files, strict=True) if files else ((), ())
    images = Images(tuple(paths), torch.tensor(labels), shape, keep)
    check_images(images)
    return images


def _given_splits(
    folders: dict[str, Path], reading: Reading
) -> tuple[list[Files], str, tuple[str, ...]]:
    """The images of each split, how they were split, and which were cut from train/."""
    classes, train = images_by_class(folders["train"], reading)
    name = "val" if "val" in folders else None
    held = {
        key: images_by_class(folders[key], reading)
        for key in (name, "test" if "test" in folders else None)
        if key
    }
    for key, (others, _) in held.items():
        if others != classes:
            message = (
                f"Class folders of {key}/ and train/ differ: {others[:5]} "
                f"against {classes[:5]}."
            )
            raise DataError(message)
    files = {key: images for key, (_, images) in held.items()}
    if name and "test" in held:
        parts = [train, files[name], files["test"]]
        return parts, "split by the folder", ()
    rest, part = _part(train, VALIDATION_SHARE)
    if name is None and "test" not in held:
        rest, test = _part(rest, TEST_SHARE)
        return [rest, part, test], "validation and test cut from train/", BOTH
    if name is None:
        return [rest, part, files["test"]], "validation cut from train/", BOTH[:1]
    return [rest, files[name], part], "test cut from train/", BOTH[1:]


def _cut(files: Files) -> list[Files]:
    rest, test = _part(files, TEST_SHARE)
    train, validation = _part(rest, VALIDATION_SHARE / (1 - TEST_SHARE))
    return [train, validation, test]


def _part(files: Sequence[tuple[str, int]], share: float) -> tuple[Files, Files]:
    if len(files) < FEWEST:
        raise DataError(f"{len(files)} images are too few to split.")
    labels = np.array([label for _, label in files])
    rest, part, _, _ = split_off(np.arange(len(files)), labels, share)
    return [files[at] for at in rest], [files[at] for at in part]


def _said(scale: Scale, *, guessed: bool) -> str:
    """How bytes become inputs, for people who must do the same in their app."""
    mean, std = (", ".join(f"{x:g}" for x in part) for part in (scale.mean, scale.std))
    text = "x = bytes / 255"
    if scale != ONE:
        text += f", then (x - mean) / std with mean {mean} and std {std}"
    if not guessed:
        return text
    whose = "grey, as it is" if scale == ONE else "ImageNet's"
    return f"{text} ({whose}; --mean and --std say otherwise)"
