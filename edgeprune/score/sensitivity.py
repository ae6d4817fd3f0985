"""Measures the loss of a network with a group at other widths, or without a block.

Scores rank the channels of one group well. How groups and blocks compare is measured:
each is narrowed, or left out, alone, and the outputs are held against the original's.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import TraceError, WorkloadError
from edgeprune.graph.channels import BATCH_NORMS
from edgeprune.graph.cores import on_cores
from edgeprune.graph.device import on_device
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import Group
from edgeprune.graph.model_copy import copied
from edgeprune.graph.operations import operations, thinned
from edgeprune.graph.surgery import apply_surgery_, plan_surgery
from edgeprune.records import GroupLoss, Plan, Scores, Sensitivity
from edgeprune.score.context import Context
from edgeprune.score.reruns import Reruns
from edgeprune.tasks import Task, value_of
from edgeprune.workload.packed import packing_of

SHARES = (0.75, 0.5, 0.25)  # of a group's channels that are kept
ALLOWANCE = 60 * 30e9  # operations for all of it: a minute on two cores, about
JUDGING = 1e13  # operations for judging plans, at most
FEWEST, MOST = 16, 512  # samples
MAPS, FEW = 2**15, 4  # outputs of a sample from which on fewer samples say as much
STEP = 64  # of them at once
TINY = 1e-30
LEAST = 1e-4  # share of the outputs that is told from none


class OutputErrorEvaluator:
    """Tells how far a plan alone takes the outputs from the original's.

    Told by outputs: no labels are needed, and unlike a loss of probabilities nothing
    vanishes where the network is sure of itself. Both measures are `unexplained`; the
    *loss* of a single change leaves out constant shifts, for it is to be added to
    others and shifts do not add up; the *error* of a whole plan counts them.

    Args:
        trials: about how many plans will be judged; with the operations that one
            sample takes this decides how many samples are used.
    """

    def __init__(self, context: Context, trials: int) -> None:
        self._graph, self._device = context.graph, context.device
        self._task = context.task
        self._model = on_device(context.model, context.device)
        x, y = _samples(context, trials)
        parts = math.ceil(len(x) / STEP)  # none of them of one sample
        count = len(x) // parts * parts
        self._x, self._y = x[:count].to(self._device), y[:count]
        self._reruns: Reruns | None = None
        if not self._graph.traced.by_value:  # whose code may take another way
            with suppress(TraceError):
                self._reruns = Reruns(self._model, self._x.split(count // parts))
        self._original = self._begun(Plan({}))()
        self._weights = weights_of(self._model, self._task, self._x, self._original)

    @cached_property
    def affordable(self) -> int:
        """How many plans can be judged in reasonable time."""
        each = operations(self._model, self._x[:FEWEST])
        return int(JUDGING / (each * self.samples))

    @property
    def samples(self) -> int:
        """How many are looked at."""
        return len(self._x)

    def error(self, plan: Plan) -> float:
        """Return the error of a whole network; plans that follow differ little from it.

        Raises:
            PlanError: the plan does not fit.
        """
        found = self._begun(plan, keep=True)()
        return unexplained(self._original, found, self._weights)

    def errors(self, plans: Iterable[Plan]) -> Iterator[float]:
        """Yield the errors of whole networks, which are run beside each other.

        Raises:
            PlanError: a plan does not fit.
        """
        for changed in self._changed(plans):
            yield unexplained(self._original, changed, self._weights)

    def judged(
        self, plans: Iterable[Plan], *, metric: bool = False
    ) -> Iterator[tuple[float, float | None]]:
        """Yield the losses of single changes, and the accuracies with them.

        Args:
            metric: tell accuracies, which may take longer than the networks.

        Raises:
            PlanError: a plan does not fit.
        """
        for changed in self._changed(plans):
            shift = changed.mean(0) - self._original.mean(0)
            loss = unexplained(self._original, changed - shift, self._weights)
            yield loss, self._accuracy(changed) if metric else None

    @property
    def accuracy(self) -> float | None:
        """The original's metric on the samples; None of too many outputs."""
        return self._accuracy(self._original)

    def _accuracy(self, outputs: Tensor) -> float | None:
        try:
            self._task.check(outputs, self._y)
        except WorkloadError:  # of so many outputs that they were thinned
            return None
        return value_of(self._task, self._task.tally(outputs, self._y))

    def _changed(self, plans: Iterable[Plan]) -> Iterator[Tensor]:
        """The outputs of the networks that surgery makes."""
        each = self._reruns.each_bytes if self._reruns else 0
        runs = map(self._begun, plans)
        return on_cores(operator.call, runs, each_bytes=each, device=self._device)

    def _begun(self, plan: Plan, *, keep: bool = False) -> Callable[[], Tensor]:
        """A call that returns the outputs of the network that surgery makes.

        Batch norms go by the statistics of what they are given: what estimating them
        anew mends is no loss. Li et al., "EagleEye", 2020, section 3.4.
        """
        surgery = plan_surgery(self._model, self._graph, plan)
        reruns = self._reruns
        if reruns and (begun := reruns.begun(surgery, keep=keep)) is not None:
            return begun
        model = copied(self._model)
        apply_surgery_(model, surgery)
        with evaluating(model):
            for module in model.modules():
                if isinstance(module, BATCH_NORMS) and len(self._x) > 1:
                    module.train()
            found = outputs(model, self._x)
        return lambda: found


def measure_sensitivity(
    context: Context,
    scores: Scores,
    blocks: Sequence[str],
    shares: Sequence[float] = SHARES,
    *,
    metric: bool = False,
) -> Sensitivity:
    """Loss of the network with every group at a few widths, and without each block.

    Args:
        shares: of a group's channels that are kept, about.
        metric: tell accuracies, too.
    """
    start = time.perf_counter()
    trials = [
        (group.name, width, _narrowed(group, scores, width))
        for group in context.graph.groups
        for width in measured_widths(group, shares)
    ]
    judge = OutputErrorEvaluator(context, len(trials) + len(blocks))
    context.progress.start("score", len(trials) + len(blocks))

    plans = [plan for _, _, plan in trials] + [Plan({}, (name,)) for name in blocks]
    found: list[tuple[float, float | None]] = []
    for one in judge.judged(plans, metric=metric):
        context.progress.advance()
        found.append(one)
    groups = tuple(
        GroupLoss(name, width, *one)
        for (name, width, _), one in zip(trials, found, strict=False)
    )
    rest = zip(blocks, found[len(trials) :], strict=True)
    left_out = {name: loss for name, (loss, _) in rest}
    context.progress.finish(
        f"{len(trials)} widths and {len(blocks)} blocks on {judge.samples} samples"
    )
    seconds = time.perf_counter() - start
    accuracy = judge.accuracy if metric else None
    return Sensitivity(groups, left_out, judge.samples, seconds, accuracy)


def measured_widths(group: Group, shares: Sequence[float] = SHARES) -> list[int]:
    """The widths, of those to choose from, nearest to a few shares."""
    widths = group.widths()[:-1]
    found = {
        min(widths, key=lambda width: abs(width - share * group.size))
        for share in shares
        if widths
    }
    return sorted(found)


def unexplained(
    original: Tensor, changed: Tensor, weights: Tensor | None = None
) -> float:
    """Minus the logarithm of the share of outputs that the changed ones explain.

    That share is cos^2 between both, shape (N, ...), around the original's means: 1
    where one is a multiple of the other, which training mends at once. Independent
    errors multiply such shares and add to this, however large they are; a squared
    change stays near 1 once a network is lost, and cannot tell bad from worse.

    Args:
        weights: see `weights_of`; all positions are alike by default.
    """
    means = original.mean(0)
    first, second = original - means, changed - means
    if weights is not None:
        first, second = first * weights, second * weights
    first, second = first.flatten(), second.flatten()
    if torch.equal(first, second):
        return 0.0
    together = first.norm() * second.norm()
    cosine = float(first.dot(second) / together) if together > 0 else 0.0
    return -math.log(min(1.0, max(LEAST, cosine * abs(cosine))))


def weights_of(
    model: nn.Module, task: Task, x: Tensor, original: Tensor
) -> Tensor | None:
    """How much each position of outputs counts where networks are compared by them.

    Args:
        x: samples, shape (N, ...).
        original: the network's outputs for them, thinned.

    Returns:
        As the task has it, of each sample, or by `evens`, of all of them; None where
        positions are alike.
    """
    if (found := evens(model, original)) is not None:
        return found[None]
    with evaluating(model), torch.no_grad():
        if task.weights(model(x[:1])) is None:
            return None
        return outputs(lambda part: task.weights(model(part)), x)


def evens(model: nn.Module, original: Tensor) -> Tensor | None:
    """Weights by which each of several outputs counts as one, however large it is.

    Args:
        original: what the network returns, thinned, shape (N, positions).

    Returns:
        Shape (positions,); None for a network with one output.
    """
    packing = packing_of(model)
    if packing is None or packing.outputs is None or len(packing.outputs.parts) < 2:
        return None
    sizes = torch.tensor([part.size for part in packing.outputs.parts])
    numbers = torch.arange(len(sizes)).repeat_interleave(sizes)
    kept = thinned(numbers[None])[0]
    spread = (original - original.mean(0)).square().sum(0)
    of_each = torch.zeros(len(sizes), dtype=spread.dtype).index_add_(0, kept, spread)
    found = of_each.sqrt().clamp_min(TINY).reciprocal()
    return torch.where(of_each > 0, found, 0.0)[kept]


def _narrowed(group: Group, scores: Scores, width: int) -> Plan:
    held = next(item.scores for item in scores.groups if item.name == group.name)
    return Plan({group.name: group.best(held, width)})


def _samples(context: Context, trials: int) -> tuple[Tensor, Tensor]:
    """As many inputs and labels as are allowed: the same on a busy machine."""
    assert context.batches is not None  # checked by the caller
    held: list[tuple[Tensor, Tensor]] = []
    wanted = MOST
    for x, y in context.batches:
        if not held:
            each = operations(context.model, x[:FEWEST])
            affordable = ALLOWANCE / (each * max(trials, 1))
            power = 2 ** int(math.log2(max(affordable, 1)))
            wanted = min(MOST, max(_fewest(context.model, x[:1]), power))
        held.append((x, y))
        if sum(len(labels) for _, labels in held) >= wanted:
            break
    x, y = (torch.cat(parts)[:wanted] for parts in zip(*held, strict=True))
    return x, y


def _fewest(model: nn.Module, x: Tensor) -> int:
    """Samples that tell networks apart: where each has a map of outputs, it is few."""
    with evaluating(model), torch.no_grad():
        made = model(x)
    return FEW if made.numel() >= MAPS else FEWEST


def outputs(model: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """A network's outputs for all samples, on the CPU in float64, a step at a time."""
    parts = x.tensor_split(math.ceil(len(x) / STEP))  # none of them of one sample
    with torch.no_grad():
        return torch.cat([thinned(model(part)).cpu().double() for part in parts])
