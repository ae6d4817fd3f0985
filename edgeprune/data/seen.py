"""One pass over a split of a user's: inputs are looked at, and targets summed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.data.labels import (
    BINARY,
    MASKS,
    check_labelled,
    class_numbers,
    largest_class,
    same_kind,
)
from edgeprune.data.splits import Batches, check_inputs
from edgeprune.errors import DataError
from edgeprune.tasks.classes import IGNORED


@dataclass(frozen=True)
class SeenTargets:
    """The targets of a split.

    Attributes:
        labels: the classes of all samples, shape (N,); of other targets one row each,
            which says that they are none.
        largest: see `labels.largest_class`.
        values: that masks hold; None where they hold others than 0 and 255.
    """

    labels: Tensor
    largest: Tensor | None
    values: frozenset[int] | None

    @classmethod
    def of(
        cls, name: str, split: str, loader: Batches, shape: tuple[int, ...]
    ) -> SeenTargets:
        """Look at all batches.

        Raises:
            DataError: NaN or infinity, samples of another shape, targets of several
                kinds, a split without samples.
        """
        labels: list[Tensor] = []
        largest: list[Tensor] = []
        values: frozenset[int] | None = frozenset()
        first = None
        for x, y in loader:
            check_inputs(name, split, x, shape)
            first = y[:1] if first is None else first
            same_kind(name, {f"start of the {split}": first, f"rest of the {split}": y})
            if not torch.isfinite(y).all():
                message = f"Data {name!r} has NaN or infinity among its targets"
                raise DataError(f"{message}, in the {split} split.")
            labels.append(_classes(name, y))
            if (one := largest_class(y)) is not None:
                largest.append(one)
            values = _joined(values, y)
        if not labels:
            raise DataError(f"Data {name!r} has an empty {split} split.")
        found = largest_class(torch.cat(largest)) if largest else None
        return cls(torch.cat(labels), found, values)


def are_binary(seen: Mapping[str, SeenTargets]) -> bool:
    """Whether the masks of all splits hold 0 and 255 alone: no and yes."""
    values = [item.values for item in seen.values()]
    held: frozenset[int] = frozenset().union(*filter(None, values))
    return all(values) and held == BINARY


def largest_of(name: str, seen: Mapping[str, SeenTargets]) -> tuple[Tensor, ...]:
    """The targets with the largest class of each split, where there are classes.

    Raises:
        DataError: the masks of a split label nothing.
    """
    found = {
        split: item.largest for split, item in seen.items() if item.largest is not None
    }
    for split, largest in found.items():
        check_labelled(name, split, largest)
    return tuple(found.values())


def _classes(name: str, y: Tensor) -> Tensor:
    if not class_numbers(y):
        return torch.zeros(len(y), 1)
    if y.numel() and int(y.min()) < 0:
        message = f"{name} must yield labels that are class numbers of shape (N,)"
        raise DataError(f"{message} from 0 on, found {int(y.min())}.")
    return y


def _joined(values: frozenset[int] | None, y: Tensor) -> frozenset[int] | None:
    """The values of masks so far, as long as they are 0 and 255 only."""
    if values is None or y.is_floating_point() or y.ndim < MASKS:
        return None
    if not bool(((y == 0) | (y == IGNORED)).all()):
        return None
    return values | frozenset(y.unique().tolist())
