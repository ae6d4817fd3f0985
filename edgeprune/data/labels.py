"""The labels of three splits: how many classes there are, and which are missing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeprune.errors import DataError

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
