"""Plans judged after a quick reconstruction.

Least squares repair some changes better than others, so plans that will be
reconstructed are compared after a reconstruction on few samples, at few positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from edgeprune.data import Batches
from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.cores import on_cores
from edgeprune.graph.device import CPU, on_device
from edgeprune.graph.forward import evaluating
from edgeprune.graph.operations import operations
from edgeprune.pipeline.candidate import Candidate
from edgeprune.reconstruct.fitted_run import FittedRun
from edgeprune.reconstruct.fitting import Fitting, Reference
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import Plan
from edgeprune.score.sensitivity import FEWEST, outputs, unexplained, weights_of
from edgeprune.tasks import Classification, Task

FITTED, JUDGED = 128, 512  # samples; a choice by fewer would be one for them
JUDGING = 2e13  # operations for judging plans, at most
BYTES = 64 * 1024**2  # of samples, at most
LARGE, SMALL = 4, 64  # samples that go through a network at once, by their size
REACH = 6  # layers that are fitted anew behind a change, for an estimate
ROWS = 4096  # positions at which each layer is fitted


class QuickReconstruction:
    """Fits the networks of candidates, one after another, to the one they start from.

    Args:
        task: what outputs are for; of classes by default.

    Attributes:
        determined: there are samples and positions enough for all layers.

    Raises:
        TraceError: the network does not run on the data.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Batches,
        seed: int,
        device: torch.device = CPU,
        task: Task | None = None,
    ) -> None:
        self._task = task or Classification()
        self._start, self._data, self._device = on_device(model, device), data, device
        x = _samples(data).to(device)
        fitted = max(1, min(FITTED, len(x) // 2))
        batch = min(SMALL if len(x) >= FITTED + JUDGED else LARGE, fitted)
        how = Fitting(fitted, batch, turns=0, rows=ROWS, seed=seed, device=device)
        self._reference = Reference(model, [(x[:fitted], x[:fitted])], how)
        judged = x[fitted:] if len(x) > fitted + 1 else x  # one has no spread
        self._judged = [part for part in judged.split(batch) if len(part) == batch]
        self._runs: list[tuple[Plan, FittedRun]] = []
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
            return restated(changed, self._data, self._device)

    def error(self, candidate: Candidate, near: Plan | None = None) -> float:
        """How much is `unexplained` on other samples; infinite for no network.

        Args:
            near: a plan much like it, for the same network, that was judged before.
        """
        self._runs = [(plan, run) for plan, run in self._runs if plan == near]
        run = _fitted(self._begun(candidate))
        if run is None:
            return math.inf
        self._runs.append((candidate.plan, run))
        return self._unexplained(run.outputs)

    def estimates(self, candidates: Iterable[Candidate], near: Plan) -> Iterator[float]:
        """Yield about those errors, from the run of a plan that was judged just before.

        Layers that are far behind all differences stay as they were fitted there, and
        half of the samples tell by how much both errors differ.
        """
        self._runs = [(plan, run) for plan, run in self._runs if plan == near]
        if not self._runs:
            yield from (self.error(candidate) for candidate in candidates)
            return
        before = self._runs[0][1].outputs
        whole, count = self._unexplained(before), -(-len(self._judged) // 2)
        runs = (self._begun(candidate, REACH, count) for candidate in candidates)
        each = self._reference.each_bytes(count)
        for run in on_cores(_fitted, runs, each_bytes=each, device=self._device):
            if run is None:
                yield math.inf
                continue
            part = before[: len(run.outputs)]
            yield whole + self._unexplained(run.outputs) - self._unexplained(part)

    def _begun(
        self, candidate: Candidate, reach: int | None = None, count: int | None = None
    ) -> Callable[[], FittedRun] | None:
        like = self._runs[0][1] if self._runs else None
        judged = self._judged[:count]
        try:
            surgery, made = candidate.surgery, candidate.cut
            return self._reference.begun(surgery, made, judged, like, reach)
        except (PlanError, TraceError):
            return None

    def _unexplained(self, found: Tensor) -> float:
        """How much of the original's outputs for the first samples others leave."""
        original, weights = self._original[: len(found)], self._weights
        weights = None if weights is None else weights[: len(found)]
        return unexplained(original, found.cpu().double(), weights)

    @cached_property
    def affordable(self) -> int:
        """How many plans can be judged in reasonable time."""
        each = operations(self._start, self._judged[0][:FEWEST])
        samples = sum(map(len, self._judged)) + self._reference.samples
        run = each * samples
        return int(JUDGING / (run + self._reference.work(ROWS)))

    @cached_property
    def _original(self) -> Tensor:
        return self._outputs(self._start)

    @cached_property
    def _weights(self) -> Tensor | None:
        x = torch.cat(self._judged)
        return weights_of(self._start, self._task, x, self._original)

    def _outputs(self, model: nn.Module) -> Tensor:
        with evaluating(model):
            return outputs(model, torch.cat(self._judged))


def _fitted(begun: Callable[[], FittedRun] | None) -> FittedRun | None:
    try:
        return begun and begun()
    except TraceError:
        return None


def _samples(data: Batches) -> Tensor:
    held: list[Tensor] = []
    count = FITTED + JUDGED
    for x, _ in data:
        held.append(x)
        count = min(count, max(2, BYTES // (x[0].numel() * x.element_size())))
        if sum(map(len, held)) >= count:
            break
    return torch.cat(held)[:count]
