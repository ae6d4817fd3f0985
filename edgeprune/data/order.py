"""Loaders of a user's whose samples change from pass to pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler

from edgeprune.data.splits import Batches
from edgeprune.errors import DataError

OTHERS = "the validation samples are others in each pass"


def in_order(part: Any) -> Any:
    """A loader that draws its order as one of the same samples in a fixed order."""
    if not isinstance(part, DataLoader) or isinstance(part.dataset, IterableDataset):
        return part
    if part.batch_size is None or not isinstance(part.sampler, RandomSampler):
        return part
    return DataLoader(
        part.dataset,
        part.batch_size,
        num_workers=part.num_workers,
        collate_fn=part.collate_fn,
        drop_last=part.drop_last,
    )


def steady_note(name: str, validation: Batches, *, labelled: bool) -> str:
    """Say so where two passes begin with other samples, as of a random change.

    Raises:
        DataError: they do, and nothing but what the original answers to them is known.
    """
    with torch.random.fork_rng(devices=()):
        first, second = (next(iter(validation), None) for _ in range(2))
    if first is None or second is None or _equal(first[0], second[0]):
        return ""
    if not labelled:
        raise DataError(f"{name}: {OTHERS}: no answers of the original belong to them.")
    return f"{OTHERS}, as of a random change: figures of several passes differ"


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)
