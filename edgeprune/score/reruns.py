"""Outputs of networks that differ from one in a group or a block.

Each is run from the first operator that differs, on values that the original's run has
left there; no module is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from edgeprune.graph.derived import DerivedTraces
from edgeprune.graph.operators import operator_of
from edgeprune.graph.stepwise import (
    Snapshot,
    StepwiseInterpreter,
    operators_of,
    shared_operators,
    stops,
    trace_batch,
)
from edgeprune.graph.surgery import cut_state, cuts_of
from edgeprune.graph.trace import Trace, state_of
from edgeprune.records import Surgery

BATCH_NORM = torch.ops.aten.batch_norm.default
STATISTICS = (None, None, True)  # running mean and variance, and whether to do without


class Reruns:
    """The outputs of smaller networks for some samples.

    Batch norms go by the statistics of what they are given, if that is more than one
    sample.

    Args:
        batches: all of one size.

    Raises:
        TraceError: the model does not run on them.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Tensor]) -> None:
        self._model, self._batches = model, batches
        traced = trace_batch(model, batches[0])
        if len(batches[0]) > 1:
            _normalise_(traced)
        self._traced, self._derived = traced, DerivedTraces(traced)
        weighted = [node for node in operators_of(traced) if operator_of(node).fitted]
        chosen = stops(traced, weighted, len(batches))
        run = StepwiseInterpreter(traced, state_of(model), batches)
        self._snapshots: list[Snapshot] = []
        for node in weighted:
            if node in chosen:
                run.up_to(node)
                self._snapshots.append(run.snapshot())

    def outputs(self, surgery: Surgery) -> Tensor | None:
        """What surgery leaves makes of the samples, in float64, shape (N, ...).

        None where that cannot be told without the module.
        """
        traced = self._derived.trace(surgery)
        if traced is None:
            return None
        cuts = cuts_of(surgery)
        done = shared_operators(self._traced, traced, lambda path: path not in cuts)
        before = [item for item in self._snapshots if item.position <= done]
        state = cut_state(self._model, surgery)
        start = before[-1] if before else None
        run = StepwiseInterpreter(traced, state, self._batches, start)
        return torch.cat(run.outputs()).double()


def _normalise_(traced: Trace) -> None:
    """Let batch norms go by what they are given."""
    node: fx.Node
    for node in operators_of(traced):
        if node.target is BATCH_NORM:
            x, weight, bias, _, _, _, *rest = node.args
            node.args = (x, weight, bias, *STATISTICS, *rest)
