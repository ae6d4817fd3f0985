"""How far a plan takes the outputs from the original's once its layers were fitted.

What least squares mend of one change, they do not mend of another: plans that are to be
reconstructed are judged as they will be, on few samples and at few positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeprune.data import Batches
from edgeprune.graph.trace import evaluating
from edgeprune.pipeline.ground import Candidate
from edgeprune.reconstruct.fitting import Fitting, Reference
from edgeprune.score.sensitivity import outputs, unexplained

FITTED, JUDGED = 128, 1024  # samples; a choice by fewer would be one for them
BYTES = 64 * 1024**2  # of samples, at most
ROWS = 4096  # positions at which each layer is fitted


class Refitting:
    """Fits the networks of plans, one after another, to the one they start from.

    Raises:
        TraceError: the network does not run on the data.
    """

    def __init__(self, model: nn.Module, data: Batches, seed: int) -> None:
        x = _samples(data)
        fitted = max(1, min(FITTED, len(x) // 2))
        how = Fitting(samples=fitted, turns=0, rows=ROWS, seed=seed)
        self._reference = Reference(model, [(x[:fitted], x[:fitted])], how)
        self._x = x[fitted:] if len(x) > fitted + 1 else x  # one has no spread
        self._original = self._outputs(model)

    @property
    def determined(self) -> bool:
        """Whether there are positions enough for the layer that reads the most."""
        return self._reference.widest <= ROWS // 2

    def model(self, candidate: Candidate) -> nn.Module:
        """The candidate's network with its layers fitted.

        Raises:
            PlanError: the plan does not fit.
            TraceError: the network does not run on the data.
        """
        return self._reference.fitted(*candidate.applied()).model

    def error(self, candidate: Candidate) -> float:
        """`unexplained`, on samples that were not fitted.

        Raises:
            PlanError: the plan does not fit.
            TraceError: the network does not run on the data.
        """
        return unexplained(self._original, self._outputs(self.model(candidate)))

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
