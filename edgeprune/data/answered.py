"""Samples without labels: their targets are what the original network answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from edgeprune.data.splits import Batch, Batches

KEPT = 2**27  # numbers of answers that are kept for the next pass, 512 MB


class Answered:
    """Batches whose targets are answers, which are kept while there is room.

    Args:
        batches: in the same order in every pass.
        answer: inputs (N, ...) to targets (N, ...).
    """

    def __init__(self, batches: Batches, answer: Callable[[Tensor], Tensor]) -> None:
        self._batches, self._answer = batches, answer
        self._held: list[Tensor] = []
        self._room = KEPT

    @property
    def generator(self) -> Any:
        """What draws the order, where the batches have one."""
        return getattr(self._batches, "generator", None)

    def __iter__(self) -> Iterator[Batch]:
        for number, (x, _) in enumerate(self._batches):
            if number < len(self._held):
                yield x, self._held[number]
                continue
            y = self._answer(x)
            if number == len(self._held) and y.numel() <= self._room:
                self._held.append(y)
                self._room -= y.numel()
            yield x, y
