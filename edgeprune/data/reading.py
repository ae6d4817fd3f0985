"""Batches of a user's as pairs of tensors, whatever stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.hugging_face import NAMED
from edgeprune.data.samples import boxes_in_rows
from edgeprune.data.splits import Batch, Batches
from edgeprune.errors import DataError, WorkloadError, first_line
from edgeprune.tasks import Structure

WHOLE = (torch.int64, torch.int32)  # numbers of words and the like, not of pixels


@dataclass(frozen=True)
class UserBatches:
    """How batches of a user's are read.

    Attributes:
        structure: of the inputs, where there are several.
        targets: of the targets, where there are several.
        labelled: there are targets.
        binary: masks of 0 and 255 are those of classes 0 and 1.
    """

    name: str
    structure: Structure | None
    targets: Structure | None
    labelled: bool
    binary: bool = False

    def read(self, loader: Any) -> Batches:
        """The same batches as pairs of tensors."""
        return _Read(loader, self)

    def pair(self, batch: Any) -> Batch:
        """One batch.

        Raises:
            DataError: it has another form than the first.
        """
        x, y = parts_of(self.name, batch)
        if (y is not None) != self.labelled:
            message = f"{self.name} yields targets with some of its batches only"
            raise DataError(f"{message}, found {type(batch).__name__}.")
        inputs = self._one(x, self.structure, "inputs")
        if y is None:
            return inputs, torch.zeros(len(inputs), dtype=torch.int64)
        wanted = self._one(y, self.targets, "targets")
        if self.binary:
            wanted = wanted > 0
        return inputs, wanted.long() if wanted.dtype is torch.bool else wanted

    def _one(self, value: Any, structure: Structure | None, what: str) -> Tensor:
        if structure is None:
            return as_tensor(self.name, value, what)
        try:
            return structure.packed(value)
        except (KeyError, RuntimeError) as error:
            lacks = "one lacks " if isinstance(error, KeyError) else ""
            message = f"{self.name} must yield {what} like those of its first batch"
            raise DataError(f"{message}: {lacks}{first_line(error)}.") from error


def reading_of(name: str, loader: Any) -> UserBatches:
    """How a loader is read, by its first batch.

    Raises:
        DataError: there is none, or no tensor in it.
    """
    first = next(raw_batches(name, loader), None)
    if first is None:
        raise DataError(f"Data {name!r} has an empty train split.")
    x, y = parts_of(name, first)
    return UserBatches(
        name, _several(name, x, "x"), _several(name, y, "y"), y is not None
    )


def parts_of(name: str, batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch; None for targets where there are none.

    Raises:
        DataError: it is neither inputs nor a pair.
    """
    batch = boxes_in_rows(name, batch)
    if isinstance(batch, Mapping):
        return _by_name(batch)
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, list | tuple) and len(batch) == 1:
        return batch[0], None
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    kind = type(batch).__name__
    message = f"{name} must yield (inputs, targets), or inputs alone, found {kind}"
    raise DataError(f"{message}.")


def _by_name(batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """Inputs and targets of a batch by names; a single input has none."""
    target = next((name for name in NAMED if name in batch), None)
    if target is None:
        return batch, None
    numbers = Tensor | np.ndarray
    inputs = {
        name: value
        for name, value in batch.items()
        if name != target and isinstance(value, numbers)
    }
    x = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    return x, batch[target]


def raw_batches(name: str, loader: Any) -> Iterator[Any]:
    """Batches of the user's, whose code may raise anything.

    Raises:
        DataError: it did.
    """
    if not isinstance(loader, Iterable):
        kind = type(loader).__name__
        raise DataError(f"{name} must give loaders or data sets, found {kind}.")
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except Exception as error:
            message = f"{name} failed while a batch was read: {first_line(error)}."
            raise DataError(message) from error
        yield batch


def as_tensor(name: str, value: Any, what: str) -> Tensor:
    """One value of a batch as a tensor of numbers, samples first.

    Raises:
        DataError: it is none.
    """
    try:
        found = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        found = None
    if found is None or found.ndim == 0 or found.is_complex():
        message = f"{name} must yield {what} as tensors of shape (N, ...)"
        raise DataError(f"{message}, found {repr(value)[:80]}.")
    if what == "inputs" and not isinstance(value, Tensor | np.ndarray):
        kind = type(value).__name__
        raise DataError(f"{name} must yield tensors of inputs, found a {kind}.")
    return found.float() if found.is_floating_point() else found


def _several(name: str, value: Any, what: str) -> Structure | None:
    """The structure of inputs or targets; None of a single tensor of numbers."""
    if what == "x" and isinstance(value, Tensor) and value.dtype in WHOLE:
        return Structure.single(value)
    if not isinstance(value, Mapping | tuple | list):
        return None
    if all(not isinstance(part, Tensor) for part in _values(value)):
        return None
    try:
        return Structure.of(value, what)
    except WorkloadError as error:
        raise DataError(f"Data {name!r}: {error}") from error


def _values(value: Any) -> list[Any]:
    return list(value.values() if isinstance(value, Mapping) else value)


@dataclass(frozen=True)
class _Read:
    """A user's loader, read in one way."""

    loader: Any
    how: UserBatches

    @property
    def generator(self) -> Any:
        """What draws the order, where the loader has one."""
        return getattr(self.loader, "generator", None)

    def __iter__(self) -> Iterator[Batch]:
        for batch in raw_batches(self.how.name, self.loader):
            yield self.how.pair(batch)
