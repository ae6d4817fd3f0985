"""Outputs of networks that differ from one in a group or a block.

Each is run from the first operator that differs, on values that a run has left there;
no module is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from edgeprune.graph.derived import DerivedTraces
from edgeprune.graph.operators import operator_of
from edgeprune.graph.stepwise import (
    Snapshot,
    StepwiseInterpreter,
    operators_of,
    peak_bytes,
    shared_operators,
    stops,
    trace_batch,
)
from edgeprune.graph.surgery import cut_state
from edgeprune.graph.trace import Trace
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
        self._derived = DerivedTraces(traced)
        self._runs: list[_Run] = []
        self.begun(Surgery(), keep=True)

    def begun(
        self, surgery: Surgery, *, keep: bool = False
    ) -> Callable[[], Tensor] | None:
        """A run of what surgery leaves, which has come to where it differs.

        Args:
            keep: those that follow differ little from it.

        Returns:
            a call that runs the rest, whatever else is run beside it, and returns the
            outputs, on the CPU in float64, (N, ...); None where that cannot be told
            without the module.
        """
        traced = self._derived.trace(surgery)
        if traced is None:
            return None
        snapshots: list[Snapshot] = []
        for run in self._runs:
            same = run.surgery.same(surgery)
            done = shared_operators(run.traced, traced, same)
            found = [item for item in run.snapshots if item.position <= done]
            snapshots = max(snapshots, found, key=_reached)
        state = cut_state(self._model, surgery)
        start = snapshots[-1] if snapshots else None
        ahead = StepwiseInterpreter(traced, state, self._batches, start)
        if keep:
            taken = [*snapshots, *self._taken(traced, ahead, _reached(snapshots))]
            self._runs = [*self._runs[:1], _Run(traced, surgery, taken)]
        return partial(_outputs, ahead)

    @property
    def each_bytes(self) -> int:
        """What the values of a run take at a time, about."""
        return peak_bytes(self._derived.traced) * len(self._batches)

    def _taken(
        self, traced: Trace, run: StepwiseInterpreter, begun: int
    ) -> Iterator[Snapshot]:
        """Snapshots of a run behind the operator at which it began."""
        order = operators_of(traced)
        weighted = [node for node in order if operator_of(node).fitted]
        chosen = stops(traced, weighted, len(self._batches))
        for position, node in enumerate(order):
            if node in chosen and position > begun:
                run.up_to(node)
                yield run.snapshot()


@dataclass(frozen=True)
class _Run:
    """A run that others begin like: the original's, and that of one other network."""

    traced: Trace
    surgery: Surgery
    snapshots: list[Snapshot]


def _outputs(run: StepwiseInterpreter) -> Tensor:
    return torch.cat(run.outputs()).cpu().double()


def _reached(snapshots: Sequence[Snapshot]) -> int:
    """The operator before which the last of them was taken; -1 for the beginning."""
    return snapshots[-1].position if snapshots else -1


def _normalise_(traced: Trace) -> None:
    """Let batch norms go by what they are given."""
    for node in operators_of(traced):
        if node.target is BATCH_NORM:
            x, weight, bias, _, _, _, *rest = node.args
            node.args = (x, weight, bias, *STATISTICS, *rest)
