"""A model with its weights, an example input, and data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgeprune.data import Batches, Splits
from edgeprune.errors import WorkloadError
from edgeprune.records import Surgery

MOST_VALUES = 2**30  # of one input batch, 4 GB


@dataclass(frozen=True)
class Workload:
    """A model to be compressed, ready to run.

    Attributes:
        inputs: one example batch; its shape is what is exported and timed.
        surgery: from the factory's module to this one, where it was compressed before.
    """

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    splits: Splits | None
    surgery: Surgery = field(default_factory=Surgery)

    @property
    def data(self) -> Splits:
        """The data set.

        Raises:
            WorkloadError: there is none.
        """
        if self.splits is None:
            raise WorkloadError("This step needs data: give --data.")
        return self.splits


def example_inputs(shape: tuple[int, ...], batch: int, seed: int) -> tuple[Tensor, ...]:
    """One random batch, shape (batch, *shape).

    Raises:
        WorkloadError: it would not fit in memory.
    """
    if math.prod(shape) * batch > MOST_VALUES:
        size = "x".join(map(str, (batch, *shape)))
        raise WorkloadError(f"One call of {size} values is too large: see --input.")
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, *shape, generator=generator),)


def example_of(batches: Batches, count: int) -> Tensor:
    """The first samples, again and again: what integers may be only the data know."""
    x, _ = next(iter(batches))
    return x[:count].repeat(-(-count // len(x)), *[1] * (x.ndim - 1))[:count]
