"""Sparse training: a penalty drives weights or channels to zero, and there they stay.

Xu, "Research on Model Compression Based on Convolutional Neural Network" (Prox-SG);
Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.sparse.penalties import TINY, Aim, Penalty
from edgeprune.sparse.sparse_training import SPARSE_PART, SparseTraining

BOUND = "bound"
IN_TIME = 0.9  # of the first part: by then the share is to be zero
MOST = 5.0  # times the first weight; what does not yield to it is cut


class Penalised(SparseTraining):
    """A proximal step behind each step of the optimiser.

    A weight that is not given is what brings the wanted share to zero in the time that
    is left, if nothing held against it; it is reckoned anew in every step. Once the
    share is zero, the zeros are frozen.
    """

    def __init__(
        self, penalty: Penalty, share: float, weight: float | None = None
    ) -> None:
        super().__init__(share, weight)
        self._penalty, self._most = penalty, 0.0
        self._optimizer: Optimizer | None = None

    def begin(self, network: nn.Module, optimizer: Optimizer, steps: int) -> None:
        """Nothing is known of the weight before the first step."""
        super().begin(network, optimizer, steps)
        self._optimizer, self.weight, self._most = optimizer, self._given or 0.0, 0.0
        self._penalty.begin(network)

    def after_step(self) -> None:
        """The proximal step, or the frozen zeros."""
        super().after_step()
        if self.settled:
            return
        assert self._optimizer is not None  # since `begin`
        aim = Aim(None, 1.0)
        if self._given is None:
            size = self._penalty.size_at(self._network, self._share)
            self.weight = self._bringing(size, self._optimizer)
            aim = Aim(size, self._share)
        with torch.no_grad():
            self._penalty.shrink_(self._network, self._optimizer, self.weight, aim)
        found = self._penalty.zeros(self._network)
        if (self._given is None and found >= self._share) or self.progress >= 1:
            self.finish()

    def finish(self) -> None:
        """Zeros are frozen; the smallest of the rest joins them."""
        if not self.settled:
            found = self._penalty.zeros(self._network)
            self.freeze(found, self._penalty.cut(self._network, self._share))

    def state(self) -> dict[str, Tensor]:
        """The bound of the weight as well."""
        return {**super().state(), BOUND: torch.tensor(self._most)}

    def restore_(self, state: Mapping[str, Tensor]) -> None:
        """The bound of the weight as well."""
        super().restore_(state)
        self._most = float(state[BOUND])

    def _bringing(self, size: float, optimizer: Optimizer) -> float:
        """The weight that brings what has this size to zero in the steps left."""
        group = optimizer.param_groups[0]
        peak = group["initial_lr"] / max(group["lr"], TINY)
        each = self._penalty.step(self._network, optimizer) * peak
        left = max((IN_TIME - self.progress) * SPARSE_PART * self._steps, 1.0)
        found = size / max(each * left, TINY)
        self._most = self._most or MOST * found
        return min(found, self._most)
