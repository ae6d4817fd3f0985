"""Data from the user's own code, and from torchvision's data sets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset
from torchvision import datasets

from edgeprune.data.augment import CHARACTERS, PHOTOS
from edgeprune.data.hugging_face import adapted, class_names
from edgeprune.data.labels import (
    BINARY_NOTE,
    count_classes,
    joined,
    missing_note,
)
from edgeprune.data.npz import channels_first
from edgeprune.data.order import in_order, steady_note
from edgeprune.data.reading import reading_of
from edgeprune.data.samples import Collate, collating, is_samples
from edgeprune.data.seen import SeenTargets, are_binary, largest_of
from edgeprune.data.splits import (
    VALIDATION_SHARE,
    Arrays,
    Batch,
    Batches,
    Reading,
    Splits,
    array_splits,
    check,
    shuffling,
    spread,
)
from edgeprune.errors import DataError

CUT = f"validation: {VALIDATION_SHARE:.0%} cut from the training data"
PARTS = ("train", "validation", "test")
CALIBRATION = 128  # samples that ranges and sensitivities are taken from
OF_CHARACTERS = frozenset(["MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SVHN"])


def load(source: str, reading: Reading) -> Splits:
    """Call `package.module:factory`, which returns loaders or data sets.

    The factory takes no arguments and returns (train, validation, test) or
    (train, test), as a tuple or a dict with these names. Each is a data set of
    (input, target) or a loader of batches of them; an input may be a tensor, a tuple or
    a dict of tensors, and inputs alone have no labels.

    Raises:
        DataError: the factory cannot be found or called, or returns something else.
    """
    factory = import_factory(source)
    try:
        made = factory()
    except Exception as error:
        message = f"{source} failed: {type(error).__name__}: {error}."
        raise DataError(message) from error
    return splits_of(source, made, reading)


def splits_of(name: str, made: Any, reading: Reading) -> Splits:
    """Splits of whatever a user hands over: loaders, data sets, or Splits already.

    Raises:
        DataError: neither of them.
    """
    if isinstance(made, Splits):
        return made
    if isinstance(made, Arrays):
        return array_splits(made, reading)
    made = adapted(made)
    train, validation, test, note = _three(name, made)
    if reading.scale is not None:
        raise DataError(f"--mean and --std do not go with {name}: it scales inputs.")
    loaders: list[Batches] = [
        _loader(train, reading, shuffling(reading)),
        *(_loader(part, reading, None) for part in (validation, test)),
    ]
    how = reading_of(name, loaders[0])
    shape = tuple(next(iter(how.read(loaders[0])))[0].shape[1:])
    seen = _seen(name, [how.read(loader) for loader in loaders], shape)
    how = replace(how, binary=are_binary(seen))
    loaders = [how.read(loader) for loader in loaders]
    labels = [item.labels for item in seen.values()]
    known = how.labelled and all(item.ndim == 1 for item in labels)
    mixed = _loader(_mixed(train), reading, None)
    return check(
        Splits(
            name=name,
            train=loaders[0],
            validation=loaders[1],
            test=loaders[2],
            calibration=how.read(mixed),
            classes=count_classes(name, labels) if known else 0,
            sample_shape=shape,
            sizes=(len(labels[0]), len(labels[1]), len(labels[2])),
            note=joined(
                note,
                _classes_note(mixed, train, labels) if known else "",
                BINARY_NOTE if how.binary else "",
                steady_note(name, loaders[1], labelled=how.labelled),
            ),
            cut_from_training=("validation",) if note == CUT else (),
            structure=how.structure,
            targets=how.targets,
            labelled=how.labelled,
            largest=() if how.binary else largest_of(name, seen),
            class_names=class_names(made) if known else (),
        )
    )


def load_torchvision(source: str, reading: Reading) -> Splits:
    """`NAME@ROOT`: a torchvision data set that is on disk already; nothing is fetched.

    Raises:
        DataError: no such data set, or its files are not under ROOT.
    """
    name, _, root = source.partition("@")
    kind = getattr(datasets, name, None)
    if kind is None or not root:
        message = (
            "Write torchvision:NAME@ROOT with a data set of torchvision, found "
            f"{source!r}."
        )
        raise DataError(message)
    try:
        train, test = kind(root, train=True), kind(root, train=False)
        arrays = [
            (np.asarray(item.data), np.asarray(item.targets)) for item in (train, test)
        ]
    except (RuntimeError, OSError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"torchvision:{source} cannot be read: {reason}") from error
    (x_train, y_train), (x_test, y_test) = arrays
    return array_splits(
        Arrays(
            f"torchvision:{source}",
            channels_first(x_train),
            y_train,
            channels_first(x_test),
            y_test,
            safe_augmentations=CHARACTERS if name in OF_CHARACTERS else PHOTOS,
        ),
        reading,
    )


def import_factory(source: str) -> Callable[..., Any]:
    """The callable behind `package.module:name`, looked for in the current folder too.

    Raises:
        DataError: it cannot be imported.
    """
    module, _, name = source.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        cause = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        message = f"Cannot import {source!r}: {cause}{error}. "
        message += "Write package.module:factory."
        raise DataError(message) from error
    if not callable(found):
        raise DataError(f"{source!r} is not callable.")
    return found


def _three(name: str, made: Any) -> tuple[Any, Any, Any, str]:
    """(train, validation, test, how they were split)."""
    if isinstance(made, Mapping):
        validation = made.get("validation", made.get("val"))
        parts = [made.get("train"), validation, made.get("test")]
        parts = [part for part in parts if part is not None]
    else:
        parts = list(made) if isinstance(made, Sequence) else []
    if len(parts) == 3:
        return parts[0], parts[1], parts[2], "split by the factory"
    whole: Any = getattr(parts[0], "dataset", parts[0]) if parts else None
    endless = isinstance(whole, IterableDataset)
    if (
        len(parts) != 2
        or endless
        or not (isinstance(whole, Dataset) or is_samples(whole))
    ):
        kinds = [type(part).__name__ for part in parts]
        found = f"({', '.join(kinds)})" if kinds else type(made).__name__
        message = (
            f"{name} must return (train, validation, test) loaders or data sets, or "
            f"(train, test) of which train can be split; found {found}."
        )
        raise DataError(message)
    order = np.random.default_rng(0).permutation(len(whole)).tolist()  # type: ignore[arg-type]
    cut = int(len(order) * VALIDATION_SHARE)
    collate = getattr(parts[0], "collate_fn", None)
    train, validation = (
        Cut(whole, rows, collate) for rows in (order[cut:], order[:cut])
    )
    return train, validation, parts[1], CUT


class Cut(Subset[Any]):
    """A part of a data set, of which batches are made as its loader made them.

    Args:
        collate: makes them; None leaves that open.
    """

    def __init__(
        self, whole: Any, rows: Sequence[int], collate: Collate | None
    ) -> None:
        super().__init__(whole, rows)
        self.collate = collate


def _loader(
    part: Any, reading: Reading, generator: torch.Generator | None
) -> DataLoader[Batch] | Batches:
    if not isinstance(part, Dataset) and not is_samples(part):
        return in_order(part) if generator is None else part
    if isinstance(part, IterableDataset):  # of an order of its own
        return DataLoader(part, reading.batch_size)
    return DataLoader(
        part,
        reading.batch_size,
        shuffle=generator is not None,
        generator=generator,
        collate_fn=getattr(part, "collate", None) or collating(part),
    )


def _seen(
    name: str, loaders: Sequence[Batches], shape: tuple[int, ...]
) -> dict[str, SeenTargets]:
    """All batches of the three splits, looked at."""
    return {
        split: SeenTargets.of(name, split, loader, shape)
        for split, loader in zip(PARTS, loaders, strict=True)
    }


def _mixed(part: Any) -> Any:
    """Samples in a fixed order that mixes classes; any other iterable as it is."""
    if isinstance(part, IterableDataset):
        return part
    if isinstance(part, DataLoader):
        if part.batch_size is None or isinstance(part.dataset, IterableDataset):
            return part
        held: Any = part.dataset
        return DataLoader(
            Subset(held, spread(len(held))), part.batch_size, collate_fn=part.collate_fn
        )
    if isinstance(part, Dataset) or is_samples(part):
        rows = spread(len(part))  # type: ignore[arg-type]
        return Cut(part, rows, getattr(part, "collate", None))
    return part


def _classes_note(calibration: Any, train: Any, labels: Sequence[torch.Tensor]) -> str:
    """Say which classes are missing in training, or in the samples that calibrate."""
    return joined(_sorted_note(calibration, train, labels[0]), missing_note(labels))


def _sorted_note(calibration: Any, train: Any, labels: torch.Tensor) -> str:
    """Say so where the first samples, which calibrate, are of a few classes only."""
    if calibration is not train:
        return ""  # mixed already
    seen, known = len(labels[:CALIBRATION].unique()), len(labels.unique())
    if seen >= min(known, CALIBRATION) / 2:
        return ""
    return f"calibration samples are of {seen} of {known} classes: shuffle the loader"
