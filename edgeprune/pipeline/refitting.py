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
        self._x = x[fitted:] if len(x) > fitted else x
        self._original = self._outputs(model)

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
    for x, _ in data:
        held.append(x)
        if sum(map(len, held)) >= FITTED + JUDGED:
            break
    return torch.cat(held)[: FITTED + JUDGED]
