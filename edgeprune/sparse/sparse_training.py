"""Training that makes zeros, follows a wanted share of them, and then freezes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.sparse.masked import Frozen, Masks

SPARSE_PART = 0.6  # of the steps; the others are without a penalty, zeros frozen
FACTS = "facts"


class SparseTraining(Frozen):
    """Makes zeros for a first part of the steps; then freezes them.

    The weight of whatever makes them is found on the way, if none is given. In the
    second part the rest recovers.

    Args:
        share: that is to be zero, 0..1.
        weight: found on the way if None.

    Attributes:
        weight: as it is.
        by_itself: the share that was zero when the zeros were frozen, before the
            smallest of the rest joined them; None before that.
    """

    def __init__(self, share: float, weight: float | None) -> None:
        super().__init__()
        self._share, self._given = share, weight
        self.weight = weight or 0.0
        self.by_itself: float | None = None

    def begin(self, network: nn.Module, optimizer: Optimizer, steps: int) -> None:
        """Nothing is frozen yet."""
        self._masks, self.by_itself = {}, None
        super().begin(network, optimizer, steps)

    @property
    def settled(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the zeros are frozen."""
        return self.by_itself is not None

    def state(self) -> dict[str, Tensor]:
        """Masks, progress, and the weight."""
        reached = math.nan if self.by_itself is None else self.by_itself
        facts = torch.tensor([self.weight, reached], dtype=torch.float64)
        return {FACTS: facts, **super().state()}

    def restore_(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        super().restore_(state)
        self.weight, reached = state[FACTS].tolist()
        self.by_itself = None if math.isnan(reached) else reached

    @property
    def progress(self) -> float:
        """The progress of the first part, 0..1."""
        return min(1.0, self._done / (SPARSE_PART * self._steps))

    def freeze(self, found: float, masks: Masks) -> None:
        """The end of the first part."""
        self.by_itself = found
        self._masks = dict(masks)
        self.apply_(self._network)
