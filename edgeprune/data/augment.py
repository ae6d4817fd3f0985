"""Augmentation: images changed at random, each in its own way, in training only."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from edgeprune.data.splits import Splits
from edgeprune.errors import WorkloadError
from edgeprune.settings import Augmented
from edgeprune.tasks import IGNORED, Task

PHOTOS: tuple[Augmented, ...] = ("crop", "flip")
CHARACTERS: tuple[Augmented, ...] = ("crop", "rotate")  # a mirrored one is another
SHIFTED: tuple[Augmented, ...] = ("crop",)  # images of who knows what
SHIFT = 1 / 8  # of a side, at most
DEGREES = 10.0  # at most, to either side
IMAGE_DIMS = 4
# What comes in from beyond a border.
BEYOND: dict[type | str, Any] = {tv_tensors.Mask: IGNORED, "others": 0.0}
COLOURS = (1, 3, 4)  # channels of images
SMALLEST = 16  # side of an image that is changed


@dataclass(frozen=True)
class Augmentation:
    """Random changes of images; anything else is left as it is.

    What comes in from beyond a border is 0: the mean colour where inputs are scaled to
    mean 0, black else.

    Attributes:
        changes: crop shifts by up to an eighth of a side, rotate turns by up to ten
            degrees, flip mirrors one half of the images from left to right.
    """

    changes: tuple[Augmented, ...] = ()

    def __call__(self, x: Tensor, y: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """A changed batch of images, shape (N, C, H, W), and its targets.

        Draws from torch's generator. Torchvision's v2 draws once for all that it is
        given: it is given one image after the other, each with its target.

        Raises:
            WorkloadError: images and targets are of other sizes, and the change needs
                them to be alike.
        """
        if not self.changes or not are_images(tuple(x.shape[1:])):
            return x, y
        steps = self._steps(x.shape[-2], x.shape[-1])
        images = (tv_tensors.Image(image) for image in x)
        if not task.learns:  # by targets, of which there may be none
            alone = [steps(image).as_subclass(Tensor) for image in images]
            return torch.stack(alone), y
        try:
            pairs = [
                task.changed(image, target, steps)
                for image, target in zip(images, y, strict=True)
            ]
        except ValueError as error:  # torchvision's
            sizes = " and targets of ".join(
                "x".join(map(str, one.shape[-2:])) for one in (x, y)
            )
            message = f"Images of {sizes} can be mirrored only (--augment flip)"
            raise WorkloadError(f"{message}, not shifted or turned.") from error
        moved, wanted = zip(*pairs, strict=True)
        held = [image.as_subclass(Tensor) for image in moved]
        return torch.stack(held), torch.stack(wanted)

    def _steps(self, height: int, width: int) -> v2.Compose:
        made: dict[Augmented, v2.Transform] = {
            "rotate": v2.RandomRotation(
                [-DEGREES, DEGREES],
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=BEYOND,
            ),
            "crop": v2.RandomCrop(
                (height, width),
                padding=[round(width * SHIFT), round(height * SHIFT)],
                fill=BEYOND,
            ),
            "flip": v2.RandomHorizontalFlip(),
        }
        return v2.Compose([made[name] for name in made if name in self.changes])


def augmentation_for(data: Splits, asked: tuple[Augmented, ...] | None) -> Augmentation:
    """Changes of training images: those asked for, or what data and task both bear."""
    if asked is not None:
        return Augmentation(asked)
    borne = data.task.safe_augmentations
    both: tuple[Augmented, ...]
    both = tuple(one for one in data.safe_augmentations if one in borne)
    if not both:
        return Augmentation()
    try:
        check_augmentation(data, both)
    except WorkloadError:  # targets of another size
        both = tuple(one for one in both if one == "flip")
    return Augmentation(both)


def check_augmentation(data: Splits, changes: tuple[Augmented, ...]) -> None:
    """Change one training sample; targets of another form are refused elsewhere.

    Raises:
        WorkloadError: its target cannot be changed with it.
    """
    x, y = next(iter(data.calibration))
    with torch.random.fork_rng(devices=[]), suppress(IndexError, TypeError):
        Augmentation(changes)(x[:1], y[:1], data.task)


def are_images(shape: tuple[int, ...]) -> bool:
    """Whether samples of a shape are images large enough to be changed."""
    if len(shape) != IMAGE_DIMS - 1 or shape[0] not in COLOURS:
        return False
    return min(shape[1:]) >= SMALLEST


def for_classes(names: Iterable[str]) -> tuple[Augmented, ...]:
    """Changes that bear the classes of a folder: characters are not mirrored."""
    single = all(len(name) == 1 or name.isdigit() for name in names)
    return CHARACTERS if single else PHOTOS
