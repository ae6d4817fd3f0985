"""The targets of three splits: how many classes there are, and which are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import DataError
from edgeprune.tasks import are_boxes
from edgeprune.tasks.classes import IGNORED, is_labelled

MASKS = 3  # axes of a batch of them
PICTURES = 4  # axes of a batch of them
MOST_IN_MASKS = 32  # values in masks; grey pictures have more
BINARY = frozenset([0, IGNORED])  # masks of painting programs
BINARY_NOTE = "masks of 0 and 255 are taken as classes 0 and 1"
MOST_MISSING = 0.5  # of the classes that are judged may be without training samples


def joined(*notes: str) -> str:
    """Notes as one, empty ones left out."""
    return "; ".join(filter(None, notes))


def count_classes(name: str, labels: list[Tensor]) -> int:
    """Number of classes, which are numbered from 0.

    Raises:
        DataError: fewer than two classes in the training labels, or other ones than
            in the other splits.
    """
    present = labels[0].unique()
    if len(present) < 2:
        message = (
            f"Data {name!r} has one class only (label {present[0].item()}): "
            "give at least two."
        )
        raise DataError(message)
    known, missing = _without_training(labels)
    if missing > known * MOST_MISSING:
        message = f"Data {name!r}: {missing} of {known} classes that are judged have"
        raise DataError(
            f"{message} no training sample: they have too few samples to be split."
        )
    return int(max(item.max() for item in labels)) + 1


def missing_note(labels: Sequence[Tensor]) -> str:
    """Say how many classes the training data lack, if any."""
    known, missing = _without_training(labels)
    if not missing:
        return ""
    return f"{missing} of {known} classes that are judged have no training sample"


def _without_training(labels: Sequence[Tensor]) -> tuple[int, int]:
    """Count the classes of validation and test, and those that training lacks."""
    judged = torch.cat(list(labels[1:])).unique()
    return len(judged), int((~torch.isin(judged, labels[0])).sum())


def as_float(x: Tensor) -> Tensor:
    """Inputs in float32; bytes are scaled to 0..1."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def as_tensors(value: NDArray[np.generic]) -> Tensor:
    """An array as a tensor that owns its memory."""
    return torch.from_numpy(np.ascontiguousarray(value))


def numbered(
    name: str, held: dict[str, tuple[Tensor, Tensor]]
) -> tuple[dict[str, tuple[Tensor, Tensor]], str]:
    """Splits whose masks hold numbers of classes, and a note of what was changed.

    Masks that hold 0 and 255 alone say no and yes, as painting programs do: 255 cannot
    be nobody's there.

    Raises:
        DataError: the training masks hold one class only.
    """
    masks = [y for _, y in held.values()]
    if masks[0].ndim != MASKS or masks[0].is_floating_point():
        return held, ""
    found = [set(item.unique().tolist()) for item in masks]
    values: frozenset[int] = frozenset().union(*found)
    if values == BINARY:
        binary = {split: (x, (y > 0).long()) for split, (x, y) in held.items()}
        return binary, BINARY_NOTE
    if len({value for value in found[0] if value >= 0} - {IGNORED}) < 2:
        message = f"Data {name!r}: the training masks hold one class only"
        told = ", ".join(map(str, sorted(found[0])))
        raise DataError(f"{message} (found {told}; {IGNORED} is nobody's).")
    return held, ""


def class_numbers(y: Tensor) -> bool:
    """Whether targets are a class of each sample."""
    return y.ndim == 1 and not y.is_floating_point()


def as_targets(y: NDArray[np.generic]) -> Tensor:
    """Targets as tensors: classes and masks as whole numbers, all else in float32.

    Pictures in bytes become 0..1, as inputs do, and their channels come first.
    """
    if y.size == len(y) and y.dtype.kind in "biu":
        return as_tensors(y.reshape(-1).astype(np.int64))
    if y.dtype == np.uint8 and y.ndim == PICTURES:
        if (masks := _masks_in(y)) is not None:
            return as_tensors(masks.astype(np.int64))
        last = y.shape[-1] in (1, 3, 4)
        return as_float(as_tensors(y.transpose(0, 3, 1, 2) if last else y))
    if y.dtype.kind in "biu" and y.ndim > 2:
        return as_tensors(y.astype(np.int64))
    return as_tensors(y.astype(np.float32))


def _masks_in(y: NDArray[np.generic]) -> NDArray[np.generic] | None:
    """Masks (N, H, W) in bytes with an axis of one channel; None of pictures.

    Told apart by how many values there are: a mask has a few, of its classes.
    """
    axis = next((axis for axis in (3, 1) if y.shape[axis] == 1), None)
    if axis is None or len(np.unique(y)) > MOST_IN_MASKS:
        return None
    return y.squeeze(axis)


def largest_class(y: Tensor) -> Tensor | None:
    """Of the sample that names the largest class, the target, shape (1, ...).

    A task can say whether it fits, which then all others do.

    Args:
        y: targets, shape (N, ...).

    Returns:
        None where targets name no classes, or are one for each sample.
    """
    if are_boxes(y):
        named = y[..., 0]
    elif not y.is_floating_point() and y.ndim > 1:
        named = torch.where(is_labelled(y), y, -1)
    else:
        return None
    at = int(named.flatten(1).amax(1).argmax()) if named.numel() else 0
    return y[at : at + 1]


def largest_classes(targets: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same of each of several splits, where there is one."""
    found = map(largest_class, targets)
    return tuple(item for item in found if item is not None)


def check_labelled(name: str, split: str, largest: Tensor) -> None:
    """Refuse masks of which nothing is labelled.

    Args:
        largest: see `largest_class`.

    Raises:
        DataError: of a split.
    """
    masks = largest.ndim == MASKS and not largest.is_floating_point()
    if masks and not is_labelled(largest).any():
        message = f"Data {name!r}: the masks of the {split} split label nothing"
        raise DataError(f"{message}: {IGNORED}, or a class below 0, is nobody's.")


def check_targets(name: str, targets: Mapping[str, Tensor]) -> None:
    """Refuse targets of which nothing can be learnt.

    Args:
        targets: of whole splits.

    Raises:
        DataError: they are of several kinds, numbers that never vary, or masks that
            label nothing.
    """
    same_kind(name, targets)
    for split, masks in targets.items():
        if (found := largest_class(masks)) is not None:
            check_labelled(name, split, found)
    split, y = next(iter(targets.items()))
    if y.is_floating_point() and len(y) > 1 and (y == y[:1]).all():
        raise DataError(f"Data {name!r}: all {split} samples have the same target.")


def same_kind(name: str, targets: Mapping[str, Tensor]) -> None:
    """Refuse targets of one split that are something else than those of another.

    Raises:
        DataError: what both are.
    """
    (first, wanted), *others = targets.items()
    for split, found in others:
        if (found.dtype, found.shape[1:]) != (wanted.dtype, wanted.shape[1:]):
            one, other = _kind(wanted), _kind(found)
            message = f"Data {name!r}: targets of the {first} split are {one}, those of"
            raise DataError(f"{message} the {split} split {other}.")


def _kind(targets: Tensor) -> str:
    if class_numbers(targets):
        return "class numbers"
    shape = ", ".join(["N", *map(str, targets.shape[1:])])
    return f"{targets.dtype}".removeprefix("torch.") + f" of shape ({shape})"
