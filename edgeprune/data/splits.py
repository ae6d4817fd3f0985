"""Three splits of batches, and the checks that every data set must pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.data.labels import (
    as_float,
    as_targets,
    as_tensors,
    check_targets,
    class_numbers,
    count_classes,
    joined,
    largest_classes,
    missing_note,
    numbered,
)
from edgeprune.data.preparation import Preparation, Scale, preparation_of
from edgeprune.errors import DataError
from edgeprune.settings import Augmented
from edgeprune.tasks import Classification, Structure, Task

Batch = tuple[Tensor, Tensor]

VALIDATION_SHARE = 0.15  # of the training data, where no validation split is given
TEST_SHARE = 0.15
FEWEST = 4  # samples, of which a part can be cut
WIDEST = 8  # bytes of a number


class Batches(Protocol):
    """Batches (inputs, labels) that can be gone through again and again."""

    def __iter__(self) -> Iterator[Batch]: ...


@runtime_checkable
class Divisible(Batches, Protocol):
    """Batches of which several processes can each read a part."""

    def part(self, rank: int, count: int) -> Iterator[Batch]:
        """Every so many rows of each batch, which may be none."""
        ...


@dataclass(frozen=True)
class Reading:
    """How a data set is read.

    Attributes:
        seed: of the order of the training data.
        classes: from names of class folders to outputs of the network, as told.
        names: the same as the network's own weights have it, where it is known; used
            where all class folders are among them.
    """

    batch_size: int
    seed: int = 0
    scale: Scale | None = None
    classes: Mapping[str, int] | None = None
    names: Mapping[str, int] | None = None


@dataclass(frozen=True)
class TensorBatches:
    """Batches of data that fit in memory; no copies but the batch itself.

    Attributes:
        x: inputs, shape (N, ...); uint8 is scaled to 0..1 batch by batch.
        y: targets, shape (N, ...), such as class indices.
        generator: draws a new order in every pass if given.
        mixed: in a fixed order that mixes classes which lie one behind the other.
    """

    x: Tensor
    y: Tensor
    reading: Reading
    generator: torch.Generator | None = None
    mixed: bool = False

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.y)

    def __iter__(self) -> Iterator[Batch]:
        return self.part(0, 1)

    def part(self, rank: int, count: int) -> Iterator[Batch]:
        """Every so many rows of each batch."""
        scale = self.reading.scale
        for rows in ordered(len(self), self.reading, self.generator, mixed=self.mixed):
            index = rows[rank::count]
            x = as_float(self.x[index])
            yield (scale(x) if scale else x), self.y[index]


@dataclass(frozen=True)
class Splits:
    """A data set, split.

    Attributes:
        calibration: training data in a fixed order and without augmentation.
        classes: number of classes; 0 where targets are something else.
        sample_shape: of one input, without the batch axis.
        note: how the splits were made, where that was a choice.
        safe_augmentations: changes of training images that leave classes as they are.
        preprocessing: how stored values become inputs, where edgeprune does that.
        preparation: the same in numbers.
        class_names: in the order of the outputs, where they are known.
        guessed_scale: the scale that was taken because none was given.
        cut_from_training: splits of training samples, which other weights may know.
        task: what the targets are, and what outputs are judged by.
        structure, targets: of both, where several are packed in rows.
        labelled: there are targets.
        largest: of each split, the target with the largest class; by `largest_class`.
    """

    name: str
    train: Batches
    validation: Batches
    test: Batches
    calibration: Batches
    classes: int
    sample_shape: tuple[int, ...]
    sizes: tuple[int, int, int]
    note: str = ""
    safe_augmentations: tuple[Augmented, ...] = ()
    preprocessing: str = ""
    preparation: Preparation | None = None
    class_names: tuple[str, ...] = ()
    guessed_scale: Scale | None = None
    cut_from_training: tuple[str, ...] = ()
    task: Task = field(default_factory=Classification)
    structure: Structure | None = None
    targets: Structure | None = None
    labelled: bool = True
    largest: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, before it is cut into batches."""

    name: str
    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    x_validation: NDArray[np.generic] | None = None
    y_validation: NDArray[np.generic] | None = None
    note: str = ""
    safe_augmentations: tuple[Augmented, ...] = ()
    labelled: bool = True
    structure: Structure | None = None  # of inputs that are packed in rows


def array_splits(arrays: Arrays, reading: Reading) -> Splits:
    """Splits of arrays; a validation split is cut from the training data if missing.

    Raises:
        DataError: empty, one class only, labels that are no class indices, NaN.
    """
    check_pair(f"{arrays.name}: train", arrays.x_train, arrays.y_train)
    cut = arrays.x_validation is None
    arrays = _cut_validation(arrays) if cut else arrays
    pairs = {
        "train": (arrays.x_train, arrays.y_train),
        "validation": (arrays.x_validation, arrays.y_validation),
        "test": (arrays.x_test, arrays.y_test),
    }
    held: dict[str, Batch] = {}
    for split, (x, y) in pairs.items():
        assert x is not None
        assert y is not None
        check_pair(f"{arrays.name}: {split}", x, y)
        held[split] = as_tensors(x), as_targets(y)
    held, said = numbered(arrays.name, held)
    x, y = held["train"]
    labels = [item[1] for item in held.values()]
    check_targets(arrays.name, dict(zip(pairs, labels, strict=True)))
    classes = arrays.labelled and class_numbers(y)
    batches = {
        split: TensorBatches(*held[split], reading) for split in ("validation", "test")
    }
    return check(
        Splits(
            name=arrays.name,
            train=TensorBatches(x, y, reading, shuffling(reading)),
            validation=batches["validation"],
            test=batches["test"],
            calibration=TensorBatches(x, y, reading, mixed=True),
            classes=count_classes(arrays.name, labels) if classes else 0,
            sample_shape=tuple(x.shape[1:]),
            sizes=(len(y), len(batches["validation"]), len(batches["test"])),
            note=joined(arrays.note, said, missing_note(labels) if classes else ""),
            safe_augmentations=arrays.safe_augmentations,
            preparation=None
            if arrays.structure
            else preparation_of(arrays.x_train.dtype, reading.scale),
            cut_from_training=("validation",) if cut else (),
            labelled=arrays.labelled,
            structure=arrays.structure,
            largest=largest_classes(labels),
        )
    )


def ordered(
    count: int, reading: Reading, generator: torch.Generator | None, *, mixed: bool
) -> tuple[Tensor, ...]:
    """The numbers of the samples of each batch.

    Args:
        generator: draws a new order if given.
        mixed: in a fixed order that mixes classes.
    """
    order = torch.arange(count)
    if generator is not None:
        order = torch.randperm(count, generator=generator)
    elif mixed:
        order = torch.tensor(spread(count))
    return order.split(reading.batch_size)


def reorder(batches: Any, seed: int) -> None:
    """Let the next pass over training data have the order of a seed.

    Whatever draws from torch's own generator, a loader or its data set, has it too.
    """
    torch.manual_seed(seed)
    generator = getattr(batches, "generator", None)
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)


def spread(count: int) -> list[int]:
    """A fixed order in which classes, which lie one behind the other, are mixed."""
    return np.random.default_rng(0).permutation(count).tolist()


def shuffling(reading: Reading) -> torch.Generator:
    """Return the generator that draws the order of the training data."""
    return torch.Generator().manual_seed(reading.seed)


def check(splits: Splits) -> Splits:
    """The first batch of each split, looked at.

    Raises:
        DataError: an empty split, NaN or infinity, samples of another shape than in
            the training data.
    """
    for split in ("train", "validation", "test"):
        first = next(iter(getattr(splits, split)), None)
        if first is None:
            raise DataError(f"Data {splits.name!r} has an empty {split} split.")
        check_inputs(splits.name, split, first[0], splits.sample_shape)
    return splits


def check_inputs(
    name: str, split: str, x: Tensor, sample_shape: tuple[int, ...]
) -> None:
    """Look at one batch of inputs.

    Raises:
        DataError: NaN or infinity, samples of another shape.
    """
    if not torch.isfinite(x).all():
        raise DataError(f"Data {name!r} has NaN or infinity in its {split} split.")
    if tuple(x.shape[1:]) != sample_shape:
        shapes = ("x".join(map(str, shape)) for shape in (x.shape[1:], sample_shape))
        found, expected = shapes
        message = f"Data {name!r}: samples of the {split} split are {found}"
        raise DataError(f"{message}, the first training samples {expected}.")


def _cut_validation(arrays: Arrays) -> Arrays:
    if len(arrays.y_train) < FEWEST:
        raise DataError(
            f"Data {arrays.name!r} has {len(arrays.y_train)} training samples: "
            "too few to split."
        )
    x, x_val, y, y_val = split_off(arrays.x_train, arrays.y_train, VALIDATION_SHARE)
    note = f"{arrays.note}validation: {VALIDATION_SHARE:.0%} cut from the training data"
    return replace(
        arrays, x_train=x, y_train=y, x_validation=x_val, y_validation=y_val, note=note
    )


def split_off(
    x: NDArray[np.generic], y: NDArray[np.generic], share: float
) -> list[NDArray[np.generic]]:
    """(x, x of the part, y, y of the part): stratified where classes allow, fixed.

    Raises:
        DataError: there are too few.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    if len(y) < FEWEST:
        raise DataError(f"{len(y)} samples are too few to split.")
    stratify = None
    if y.size == len(y) and y.dtype.kind in "biu":
        _, counts = np.unique(y, return_counts=True)
        few = counts.min() > 1 and len(y) * share >= len(counts)
        stratify = y if few else None
    parts = train_test_split(x, y, test_size=share, random_state=0, stratify=stratify)
    return [np.asarray(part) for part in parts]


def check_pair(name: str, x: NDArray[np.generic], y: NDArray[np.generic]) -> None:
    """Look at one split's arrays.

    Raises:
        DataError: empty, unequal numbers, labels that are no class numbers, NaN.
    """
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(y) == 0:
        counts = [len(part) if part.ndim else "no array of" for part in (x, y)]
        raise DataError(f"Data {name} has {counts[0]} inputs and {counts[1]} labels.")
    if y.dtype.kind not in "biuf" or y.dtype.itemsize > WIDEST:
        message = f"Data {name} targets must be numbers of shape (N, ...), found"
        raise DataError(f"{message} {y.dtype} {y.shape}.")
    if x.ndim < 2 or x.dtype.kind not in "biuf" or x.dtype.itemsize > WIDEST:
        message = (
            f"Data {name} inputs must be numbers of shape (N, ...) of at most 64 bits, "
            f"found {x.dtype} {x.shape}."
        )
        raise DataError(message)
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise DataError(f"Data {name} has NaN or infinity among its inputs.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"Data {name} has NaN or infinity among its targets.")
    if y.dtype.kind in "iu" and y.size == len(y) and y.min() < 0:
        raise DataError(f"Data {name} has negative labels.")
