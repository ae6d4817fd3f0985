"""Zeros: by masks or by sparse training; then, if asked, a smaller network from them.

`sparsify` is the whole of it: train until the wanted share is zero, take out the
channels that are zero throughout, train once more, prove and measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from edgeprune.errors import ConfigError, EdgepruneError
from edgeprune.export import deliver
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.constraint import Constraint
from edgeprune.finetune.loop import default_epochs, evaluate, flushing_denormals, train
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.cost import count
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import weights_of
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark, Exported
from edgeprune.records import (
    PairedTiming,
    PenaltyFound,
    Plan,
    SparseStep,
    Surgery,
    Training,
)
from edgeprune.sparse import masks
from edgeprune.sparse.job import SparseJob, SparseOutcome
from edgeprune.sparse.masked import Frozen
from edgeprune.sparse.methods import Setup, SparseMethod, method_of
from edgeprune.sparse.sparse_training import SparseTraining
from edgeprune.sparse.sparsity import sparsity_of
from edgeprune.sparse.temporary_norms import with_norms, without_norms
from edgeprune.sparse.zeros import plan_of_zeros
from edgeprune.units import milliseconds
from edgeprune.workload import check_weights

ROUNDS = 3  # of masks, where --rounds does not say
SHORT = 0.03  # of all: groups have whole channels only
STEPS = 1000  # of a training, about, where --epochs does not say


def sparsify(job: SparseJob, folder: Path) -> SparseOutcome:
    """Make the zeros, and what follows from them.

    Args:
        folder: where files are written; it exists.

    Raises:
        EdgepruneError: a step refuses its input or fails.
    """
    model = job.workload.model
    check_weights(model)
    benchmark = Benchmark(
        job.runner, job.workload.inputs, folder, job.settings.dynamic_batch
    )
    with flushing_denormals():
        graph = survey(model, benchmark.inputs)
        baseline = reached("baseline", model, job)
        floor = job.settings.floor(
            baseline.step.validation_accuracy, job.data.task.metric
        )
        run = _Sparsification(job, benchmark, graph, baseline, floor)
        run.note_others()
        sparse, reason = run.trained()
        smaller = run.smaller(sparse[-1]) if sparse else None
        return run.proved(sparse, smaller, reason)


@dataclass(frozen=True)
class Reached:
    """A network on the way, and its figures."""

    model: nn.Module
    step: SparseStep


@dataclass(frozen=True)
class Smaller:
    """The network without the channels that are zero throughout.

    Attributes:
        steps: as it is, and trained again.
        difference: largest one that the removal made to outputs, as a share of the
            largest output.
    """

    steps: tuple[Reached, ...]
    plan: Plan
    difference: float


def reached(name: str, model: nn.Module, job: SparseJob) -> Reached:
    """Figures that need no file."""
    graph = build_channel_graph(model, job.workload.inputs)
    cost, data = count(graph.traced), job.data
    accuracy = evaluate(model, data.validation, task=data.task)
    sparsity = sparsity_of(model, graph)
    return Reached(model, SparseStep(name, sparsity, accuracy, cost.macs, cost.params))


def shares(job: SparseJob, method: SparseMethod, first: float) -> list[float]:
    """Return the shares that are to be zero after each training.

    Raises:
        ConfigError: more is zero already.
    """
    if first > job.sparsity:
        message = (
            f"{first:.1%} is zero already: give a larger --sparsity than "
            f"{job.sparsity:g}."
        )
        raise ConfigError(message)
    if job.settings.gradual or not method.masked:
        return [job.sparsity]
    rounds, more = job.settings.rounds or ROUNDS, job.sparsity - first
    return [first + more * (at + 1) / rounds for at in range(rounds)]


@dataclass(frozen=True)
class _Sparsification:
    """One run: what it is asked for, and what it takes down on the way."""

    job: SparseJob
    benchmark: Benchmark
    graph: ChannelGraph
    baseline: Reached
    floor: float
    training: list[Training] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    penalties: list[PenaltyFound] = field(default_factory=list)

    @property
    def method(self) -> SparseMethod:
        """How zeros are made."""
        return method_of(self.job.settings)

    @property
    def first(self) -> float:
        """The share that was zero before."""
        return self.method.share_of(self.baseline.step.sparsity)

    def trained(self) -> tuple[list[Reached], str]:
        """Train again and again as long as the floor holds, and say why if it ended.

        Returns:
            The networks above the floor, and why there is not as much zero as was
            wanted; empty if there is.
        """
        accuracy, floor = self.baseline.step.validation_accuracy, self.floor
        metric = self.job.data.task.metric
        if accuracy < floor:
            return [], (
                f"the baseline's own validation {metric.told(accuracy)} is below the "
                f"floor {metric.text(floor)}"
            )
        steps = [self.baseline]
        wanted = shares(self.job, self.method, self.first)
        for number, share in enumerate(wanted, 1):
            name = f"round {number}" if len(wanted) > 1 else "sparse"
            model = self._sparse(steps[-1].model, share, name)
            found = reached(name, model, self.job)
            accuracy = found.step.validation_accuracy
            if accuracy < floor:
                return steps[1:], (
                    f"at {share:.0%} the validation {metric.told(accuracy)} is below "
                    f"the floor {metric.text(floor)}"
                )
            steps.append(found)
        return steps[1:], self._short(steps[-1].step)

    def _short(self, step: SparseStep) -> str:
        """Why less is zero than was wanted, if it is."""
        share = self.method.share_of(step.sparsity)
        if self.method.mixed or share >= self.job.sparsity - SHORT:
            return ""
        what = "weights" if self.method.by_weight else "channels"
        return (
            f"only {share:.1%} of the {what} could be made zero: the others are the "
            "last of their group, or have no scale or filter of their own"
        )

    def _sparse(self, model: nn.Module, share: float, name: str) -> nn.Module:
        """A model with a share of zeros."""
        if not self.method.needs_norms:
            return self._train(model, self._constraint(model, self.graph, share), name)
        normed, added = with_norms(model, self.graph, self.job.data.calibration)
        graph = survey(normed, self.benchmark.inputs) if added else self.graph
        constraint = self._constraint(normed, graph, share)
        if added:
            self._note(f"{len(added)} layers had a batch norm for the time of training")
        return without_norms(self._train(normed, constraint, name))

    def _constraint(
        self, model: nn.Module, graph: ChannelGraph, share: float
    ) -> Constraint:
        """Build the constraint that makes the zeros."""
        settings, samples = self.job.settings, self.job.data.sizes[0]
        setup = Setup(model, graph, settings, share, self.first, samples)
        if not self.method.finds(setup):
            message = (
                f"--method {settings.method} finds nothing that it could make zero: "
                "see `edgeprune groups` for the channels."
            )
            raise ConfigError(message)
        return self.method.constraint(setup)

    def _train(self, model: nn.Module, constraint: Constraint, name: str) -> nn.Module:
        job, settings = self.job, self.job.settings
        epochs = settings.epoch_count
        if epochs is None:
            epochs = default_epochs(job.data.sizes[0], steps=STEPS)
        config = TrainingConfig(
            purpose=name,
            epochs=epochs,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            optimizer=settings.optimizer or "sgd",
            average=settings.average or 0.0,
            teacher=job.workload.model,
            constraint=constraint,
            state=job.state and job.state / f"{name}.safetensors",
            progress=job.progress,
        )
        trained, training = train(model, job.data, config)
        self.training.append(training)
        if isinstance(constraint, SparseTraining):
            reached = constraint.by_itself or 0.0
            self.penalties.append(PenaltyFound(constraint.weight, reached))
        return trained

    def smaller(self, sparse: Reached) -> Smaller | None:
        """Remove the channels that are zero throughout, if that is asked for.

        Zeros that are left stay where they are.
        """
        if not self.job.settings.materialise:
            return None
        try:
            return self._smaller(sparse)
        except EdgepruneError as error:
            self._note(f"nothing could be removed: {error}")
            return None

    def _smaller(self, sparse: Reached) -> Smaller:
        graph = survey(sparse.model, self.benchmark.inputs)
        plan = plan_of_zeros(sparse.model, graph, self.job.data.calibration)
        model = apply(sparse.model, self.graph, plan)
        difference = self._difference(sparse.model, model)
        steps = [reached("materialised", model, self.job)]
        if plan.kept:
            held = Frozen(masks.zeros_of(model))
            trained = self._train(model, held, "retrained")
            steps.append(reached("retrained", trained, self.job))
        else:
            self._note("no channel is zero throughout: nothing could be removed")
        return Smaller(tuple(steps), plan, difference)

    def _difference(self, first: nn.Module, second: nn.Module) -> float:
        """Largest one between two models, as a share of the largest output."""
        x, _ = next(iter(self.job.data.validation))
        with evaluating(first), evaluating(second), torch.no_grad():
            expected, found = first(x), second(x)
        difference = float((expected - found).abs().max())
        return difference and difference / max(float(expected.abs().max()), 1e-12)

    def note_others(self) -> None:
        """Say it if weights of other layers than these count as none."""
        model = self.job.workload.model
        known = {*weights_of(model)}
        others = sum(
            value.numel()
            for name, value in model.named_parameters()
            if value.ndim > 1 and name not in known
        )
        if others:
            self._note(
                f"{others:,} weights are of other layers than convolutions and linear "
                "ones: they are not counted"
            )

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def proved(
        self, sparse: Sequence[Reached], smaller: Smaller | None, reason: str
    ) -> SparseOutcome:
        """The files, proved, and timed in turn; the one reading of the test split."""
        more = smaller.steps if smaller else ()
        delivered = [self.baseline, *sparse[-1:], *more[-1:]]
        names = ("baseline", "sparse", "smaller")
        files = [
            self.benchmark.export(item.model, name)
            for item, name in zip(delivered, names, strict=False)
        ]
        self.job.progress.start("measure", 2)
        parity = deliver.prove(files[-1], self.job.data)
        self.job.progress.advance("parity")
        timings = self.benchmark.compare(files)
        paired = [PairedTiming(timing, timings[0]) for timing in timings]
        self.job.progress.finish(
            ", ".join(milliseconds(item.timing.median_ms) for item in paired)
        )
        measured = {
            id(item): self._measured(item.step, file, timing)
            for item, file, timing in zip(delivered, files, paired, strict=True)
        }
        surgery = Surgery()
        if smaller is not None:
            surgery = plan_surgery(sparse[-1].model, self.graph, smaller.plan)
        steps = (self.baseline, *sparse, *more)
        return SparseOutcome(
            met=not reason,
            reason=reason,
            floor=self.floor,
            steps=tuple(measured.get(id(item), item.step) for item in steps),
            files=tuple(files),
            timings=tuple(paired),
            training=tuple(self.training),
            penalty=self.penalties[-1] if self.penalties else None,
            removed=smaller.plan if smaller else None,
            surgery=surgery,
            difference=smaller.difference if smaller else None,
            parity=parity,
            notes=tuple(self.notes),
        )

    def _measured(
        self, step: SparseStep, file: Exported, paired: PairedTiming
    ) -> SparseStep:
        """With what is known of the file only."""
        return replace(
            step,
            latency_ms=paired.ratio * paired.baseline.median_ms,
            latency_ratio=paired.ratio,
            size_bytes=file.path.stat().st_size,
            test_accuracy=deliver.TestSplit(self.job.data).accuracy(file.path),
        )
