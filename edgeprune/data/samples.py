"""Single samples from Python, and how they become batches.

Boxes, of which each image has another number, become rows that are filled up: as
torchvision's detectors take them, dicts of `boxes` (k, 4) and `labels` (k,), or rows
(k, 5) of class, x1, y1, x2, y2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from edgeprune.data.boxes import COLUMNS, NOTHING
from edgeprune.errors import DataError
from edgeprune.tasks.precision import MOST

LOOKED_AT = 64  # samples that say whether there are as many boxes everywhere
BOXES, LABELS = "boxes", "labels"  # of a dict
IMAGE, CHANNELS = 3, (1, 3)  # axes of one, and how many of the first there may be
Collate = Callable[[list[Any]], Any]


def is_samples(part: Any) -> bool:
    """Whether a list is of single samples, (input, target) or by name, not of batches.

    In a batch, all that is in it is as long.
    """
    if not isinstance(part, Sequence) or not part:
        return False
    first = part[0]
    if isinstance(first, Mapping):
        return True
    if not isinstance(first, Sequence) or isinstance(first, str) or len(first) != 2:
        return False
    lengths = _lengths(first[0]) | _lengths(first[1])
    if None in lengths or len(lengths) != 1:
        return True
    image = isinstance(first[0], Tensor | np.ndarray) and first[0].ndim == IMAGE
    return image and first[0].shape[0] in CHANNELS


def collating(part: Any) -> Collate:
    """How samples of a data set, or of a list, become a batch."""
    try:
        return _with_boxes if _has_boxes(part) else default_collate
    except Exception:  # noqa: BLE001  of the user's code, as will be said when it is read
        return default_collate


def boxes_in_rows(name: str, batch: Any) -> Any:
    """A batch whose boxes are tensors, shape (N, MOST, 5); any other as it is.

    Raises:
        DataError: an image has more boxes, or another size than the others.
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        return batch
    x, y = batch
    if isinstance(y, Mapping) and _are_boxes(y):  # of all images, filled up already
        labels, corners = torch.as_tensor(y[LABELS]), torch.as_tensor(y[BOXES])
        return x, torch.cat([labels[..., None].float(), corners.float()], -1)
    if not isinstance(y, list | tuple) or not y or not all(map(_are_boxes, y)):
        return batch
    rows = torch.full((len(y), MOST, COLUMNS), NOTHING)
    for row, one in zip(rows, y, strict=True):
        found = _rows(one)
        if len(found) > MOST:
            message = f"{name} has an image with {len(found)} boxes, at most {MOST}"
            raise DataError(f"{message} count: leave the smallest out.")
        row[: len(found)] = found
    if isinstance(x, list | tuple):
        sizes = {tuple(image.shape) for image in x}
        if len(sizes) > 1:
            message = f"{name} has images of several sizes ({sorted(sizes)[:2]}...):"
            raise DataError(f"{message} scale them, and their boxes with them.")
        x = torch.stack(tuple(x))
    return x, rows


def _with_boxes(samples: list[Any]) -> Any:
    x, y = zip(*samples, strict=True)
    return x, y


def _has_boxes(part: Any) -> bool:
    """Whether the targets are boxes, of which samples have as many as they like."""
    if not len(part) or not _is_pair(part[0]) or not _are_boxes(part[0][1]):
        return False
    if isinstance(part[0][1], Mapping):
        return True
    some = (part[at][1] for at in range(min(len(part), LOOKED_AT)))
    return len({len(one) for one in some}) > 1


def _is_pair(sample: Any) -> bool:
    return isinstance(sample, Sequence) and len(sample) == 2


def _are_boxes(target: Any) -> bool:
    if isinstance(target, Mapping):
        return {BOXES, LABELS} <= set(target)
    return isinstance(target, Tensor) and target.shape[1:] == (COLUMNS,)


def _rows(target: Any) -> Tensor:
    """The boxes of an image, shape (k, 5)."""
    if not isinstance(target, Mapping):
        return target.float()
    labels = torch.as_tensor(target[LABELS]).reshape(-1, 1).float()
    corners = torch.as_tensor(target[BOXES]).reshape(-1, COLUMNS - 1).float()
    return torch.cat([labels, corners], 1)


def _lengths(value: Any) -> set[int | None]:
    """Of all that is in a value along its first axis; None of what has none."""
    if isinstance(value, Mapping):
        return {length for one in value.values() for length in _lengths(one)}
    if isinstance(value, list | tuple) and any(
        isinstance(one, Tensor | np.ndarray | Mapping) for one in value
    ):
        return {length for one in value for length in _lengths(one)}
    shape = value.shape if isinstance(value, Tensor) else np.shape(value)
    return {int(shape[0]) if len(shape) else None}
