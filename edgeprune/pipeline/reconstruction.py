"""Plans judged after a quick reconstruction.

Least squares repair some changes better than others, so plans that will be
reconstructed are compared after a reconstruction on few samples, at few positions.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor, nn

from edgeprune.data import Batches
from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.forward import evaluating
from edgeprune.graph.operations import operations
from edgeprune.pipeline.evaluation import Candidate
from edgeprune.reconstruct.fitting import Fitting, Reference
from edgeprune.reconstruct.statistics import restated
from edgeprune.score.sensitivity import FEWEST, outputs, unexplained

FITTED, JUDGED = 128, 512  # samples; a choice by fewer would be one for them
JUDGING = 3e13  # operations for judging plans, at most
BYTES = 64 * 1024**2  # of samples, at most
ROWS = 4096  # positions at which each layer is fitted


class QuickReconstruction:
    """Fits the networks of candidates, one after another, to the one they start from.

    Attributes:
        determined: there are samples and positions enough for all layers.

    Raises:
        TraceError: the network does not run on the data.
    """

    def __init__(self, model: nn.Module, data: Batches, seed: int) -> None:
        self._start, self._data = model, data
        x = _samples(data)
        fitted = max(1, min(FITTED, len(x) // 2))
        how = Fitting(samples=fitted, turns=0, rows=ROWS, seed=seed)
        self._reference = Reference(model, [(x[:fitted], x[:fitted])], how)
        self._x = x[fitted:] if len(x) > fitted + 1 else x  # one has no spread
        self.determined = self._reference.determines(ROWS)

    def model(self, candidate: Candidate) -> nn.Module:
        """Fit the layers of the candidate's network, or its statistics at least.

        Raises:
            PlanError: the plan does not fit.
        """
        changed = candidate.network
        try:
            return self._reference.fitted(changed, candidate.surgery).model
        except TraceError:  # as reconstruction will say
            return restated(changed, self._data)

    def error(self, candidate: Candidate) -> float:
        """How much is `unexplained` on other samples; infinite for no network."""
        try:
            found = self._outputs(self.model(candidate))
        except PlanError:
            return math.inf
        return unexplained(self._original, found)

    @cached_property
    def affordable(self) -> int:
        """How many plans can be judged in reasonable time."""
        with evaluating(self._start):
            each = operations(self._start, self._x[:FEWEST])
        run = each * (len(self._x) + self._reference.samples)
        return int(JUDGING / (run + self._reference.work(ROWS)))

    @cached_property
    def _original(self) -> Tensor:
        return self._outputs(self._start)

    def _outputs(self, model: nn.Module) -> Tensor:
        with evaluating(model):
            return outputs(model, self._x)


def _samples(data: Batches) -> Tensor:
    held: list[Tensor] = []
    count = FITTED + JUDGED
    for x, _ in data:
        held.append(x)
        count = min(count, max(2, BYTES // (x[0].numel() * x.element_size())))
        if sum(map(len, held)) >= count:
            break
    return torch.cat(held)[:count]
