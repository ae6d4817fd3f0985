"""Latency tables: a fitted time for each operator, at any widths."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgeprune.records.memory import MemoryTable, WidthPlace
from edgeprune.records.surgery import inside

Floats = npt.NDArray[np.float64]
VECTOR = 4  # runtimes handle channels in vectors of at least so many
PRODUCT, TERMS = 6, 10  # of `terms`: the product of both widths as it is, of so many
NO_CACHE = 1e15  # bytes: nothing is said of what comes from memory


@dataclass(frozen=True)
class OperatorTime:
    """One operator of the runtime's graph, and its time over two widths.

    Attributes:
        layer: the weight that it belongs to.
        operator: its kind, such as Conv.
        read: the width that it reads; None where it is always the same, and counts
            as one block.
        made: the width that it makes; likewise.
        weights: of what `terms` gives, in shares of the reference network's time.
    """

    layer: str
    operator: str
    read: WidthPlace | None
    made: WidthPlace | None
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LatencyTable:
    """The time of a network as a function of its widths.

    Times are shares of the reference, which is the network at full width: so they
    hold while a machine as a whole gets slower or faster.

    Attributes:
        key: of the network's structure, the device and its runtime.
        block: channels that the runtime computes together.
        cache_bytes: weights beyond so many are fetched from memory in every call.
        probes: how many networks it was fitted to.
        errors: relative errors for networks that it was not fitted to.
        memory: of the activations, by the same widths.
        seconds: that measuring took.
    """

    key: str
    block: int
    cache_bytes: float
    operators: tuple[OperatorTime, ...]
    probes: int
    errors: tuple[float, ...]
    memory: MemoryTable
    seconds: float

    def missed(self, weight_bytes: float) -> float:
        """The share of so many bytes of weights that no cache holds."""
        return float(missed(np.array([weight_bytes]), self.cache_bytes)[0])

    def times(
        self, item: OperatorTime, read: Floats, made: Floats, missed: float
    ) -> Floats:
        """Predicted times of one operator at pairs of widths."""
        gone = np.full(len(read), missed)
        return terms(read, made, gone, self.block) @ np.array(item.weights)

    def share(
        self,
        width: Callable[[WidthPlace], float],
        weight_bytes: float,
        bypassed: Collection[str] = (),
    ) -> float:
        """Predicted time of a whole network.

        Args:
            width: length of a parameter's axis.
            weight_bytes: of all weights.
            bypassed: modules that are left out.
        """
        read, made = (
            np.array(
                [self.block if place is None else width(place) for place in places]
            )
            for places in (
                [item.read for item in self.operators],
                [item.made for item in self.operators],
            )
        )
        gone = np.full(len(read), self.missed(weight_bytes))
        each = (terms(read, made, gone, self.block) * self._weights).sum(1)
        stays = [not inside(item.layer, bypassed) for item in self.operators]
        return float(each[stays].sum())

    @cached_property
    def _weights(self) -> Floats:
        return np.array([item.weights for item in self.operators])


@dataclass(frozen=True)
class LatencySummary:
    """How well times were predicted; what a report says of a table."""

    block: int
    cache_bytes: float
    operators: int
    probes: int
    errors: tuple[float, ...]
    seconds: float

    @classmethod
    def of(cls, table: LatencyTable) -> LatencySummary:
        """Summarise a table."""
        return cls(
            table.block,
            table.cache_bytes,
            len(table.operators),
            table.probes,
            table.errors,
            table.seconds,
        )

    @property
    def median_error(self) -> float:
        """The median of the absolute errors for networks that were not fitted."""
        return statistics.median(map(abs, self.errors)) if self.errors else 0.0


def missed(weight_bytes: Floats, cache_bytes: float) -> Floats:
    """Shares of weights that a cache does not hold, when they are read in turn."""
    return np.maximum(0.0, 1.0 - cache_bytes / np.maximum(weight_bytes, 1.0))


def terms(read: Floats, made: Floats, gone: Floats, block: int) -> Floats:
    """Return the terms that an operator's time is a sum of, shape (n, 10).

    Runtimes round widths up to whole blocks, so that time is a staircase: a constant,
    each width and their product (the multiplications) in whole blocks, the product
    where less than a block is read (another kernel), the part of it whose weights
    come from memory, the product as it is, and what widths outside of blocks and of
    vectors cost on top (other layouts).
    """
    first, second = (np.ceil(width / block) * block for width in (read, made))
    few = (read < block).astype(np.float64)
    partial = ((read % block > 0) | (made % block > 0)).astype(np.float64)
    odd = ((read % VECTOR > 0) | (made % VECTOR > 0)).astype(np.float64)
    return np.stack(
        [
            np.ones_like(first),
            first,
            second,
            (1 - few) * first * second,
            few * read * second,
            first * second * gone,
            read * made,
            partial * (read + made),
            odd * (read + made),
            odd * read * made,
        ],
        axis=1,
    )
