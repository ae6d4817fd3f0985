"""Zeros: by masks or by sparse training; then, if asked, a smaller network from them.

`Sparsification.go` is the whole of it: train until the wanted share is zero, take out
the channels that are zero throughout, train once more, prove and measure.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from edgeprune.config import MASKED
from edgeprune.errors import ConfigError, EdgepruneError
from edgeprune.export import deliver
from edgeprune.finetune.bayesian import Variational
from edgeprune.finetune.constraint import Constraint, Schedule
from edgeprune.finetune.loop import (
    default_epochs,
    evaluate,
    flushing_denormals,
    train,
)
from edgeprune.finetune.masked import Frozen, Masked
from edgeprune.finetune.penalised import Blocks, Elements, Penalised
from edgeprune.finetune.recipe import Recipe
from edgeprune.finetune.sparse_training import SparseTraining
from edgeprune.finetune.temporary_norms import with_norms, without_norms
from edgeprune.graph.channels import Channels
from edgeprune.graph.cost import count
from edgeprune.graph.groups import ChannelGraph, analyse
from edgeprune.graph.layers import CONVOLUTIONS
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import evaluating, state_of
from edgeprune.measure.bench import Bench, Exported
from edgeprune.pipeline.sparse_job import SparseJob, SparseOutcome
from edgeprune.prune import masks
from edgeprune.prune.zeros import plan_of_zeros, zero_channels
from edgeprune.records import (
    PenaltyFound,
    Plan,
    SparseStep,
    Sparsity,
    Surgery,
    Timing,
    Training,
)
from edgeprune.units import milliseconds
from edgeprune.workload import check_weights

SHORT = 0.03  # of all: groups have whole channels only
STEPS = 1000  # of a training, about, where --epochs does not say


@dataclass(frozen=True)
class Reached:
    """A network on the way, and its figures."""

    model: nn.Module
    step: SparseStep


@dataclass
class Sparsification:
    """One run.

    Args:
        folder: where files are written; it exists.
    """

    job: SparseJob
    folder: Path
    training: list[Training] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    penalty: PenaltyFound | None = None

    def go(self) -> SparseOutcome:
        """Make the zeros, and what follows from them.

        Raises:
            EdgepruneError: a step refuses its input or fails.
        """
        job = self.job
        check_weights(job.workload.model)
        self.data = job.workload.data
        self.bench = Bench(
            job.runner, job.workload.inputs, self.folder, job.dynamic_batch
        )
        with flushing_denormals():
            self.graph = survey(job.workload.model, self.bench.inputs)
            baseline = self._reached("baseline", job.workload.model)
            self.start = baseline.step
            self.floor = job.floor(baseline.step.validation_accuracy)
            steps = [baseline]
            self._note_others(job.workload.model)
            reason = self._sparse(steps)
            reason = reason or self._short(steps[-1].step)
            made = job.materialise and len(steps) > 1
            smaller = None
            if made:
                try:
                    smaller = self._smaller(steps[-1])
                except EdgepruneError as error:
                    self._note(f"nothing could be removed: {error}")
            return self._proved(steps, smaller, reason)

    def _sparse(self, steps: list[Reached]) -> str:
        """Training by training, as long as the floor holds; why it ended early."""
        baseline = steps[0].step
        if baseline.validation_accuracy < self.floor:
            return (
                f"the baseline's own validation accuracy "
                f"{baseline.validation_accuracy:.2%} is below the floor "
                f"{self.floor:.2%}"
            )
        shares = self.job.shares(share_of(self.job, baseline))
        for number, share in enumerate(shares, 1):
            name = f"round {number}" if len(shares) > 1 else "sparse"
            found = self._reached(name, self._trained(steps[-1].model, share, name))
            accuracy = found.step.validation_accuracy
            if accuracy < self.floor:
                return (
                    f"at {share:.0%} the validation accuracy {accuracy:.2%} is below "
                    f"the floor {self.floor:.2%}"
                )
            steps.append(found)
        return ""

    def _short(self, step: SparseStep) -> str:
        """Why less is zero than was wanted, if it is."""
        job = self.job
        found = share_of(job, step)
        if job.method == "hybrid" or found >= job.sparsity - SHORT:
            return ""
        what = "weights" if by_weight(job) else "channels"
        return (
            f"only {found:.1%} of the {what} could be made zero: the others are the "
            "last of their group, or have no scale or filter of their own"
        )

    def _trained(self, model: nn.Module, share: float, name: str) -> nn.Module:
        """A model with a share of zeros."""
        if self.job.method != "slimming":
            return self._train(model, self._constraint(model, self.graph, share), name)
        normed, added = with_norms(model, self.graph, self.data.calibration)
        graph = survey(normed, self.bench.inputs) if added else self.graph
        constraint = self._constraint(normed, graph, share)
        if added:
            self._note(f"{len(added)} layers had a batch norm for the time of training")
        return without_norms(self._train(normed, constraint, name))

    def _constraint(
        self, model: nn.Module, graph: ChannelGraph, share: float
    ) -> Constraint:
        """What makes the zeros."""
        job, channels = self.job, Channels(model, graph.groups)
        slices = channels.scales if job.method == "slimming" else channels.made
        names = masks.weights_of(model)
        if not (names if by_weight(job) else slices):
            message = (
                f"--method {job.method} finds nothing that it could make zero: see "
                "`edgeprune groups` for the channels."
            )
            raise ConfigError(message)
        if job.method in MASKED:
            choose = masks.METHODS[job.method](model, graph)
            first = share_of(job, self.start) if job.gradual else share
            until = Schedule(share).until if job.gradual else 0.0
            return Masked(choose, Schedule(share, min(first, share), until))
        if job.method == "bayesian":
            generator = torch.Generator().manual_seed(job.seed)
            return Variational(
                channels, self.data.sizes[0], share, job.penalty, generator=generator
            )
        if job.method == "prox-sg" and job.regulariser == "weights":
            return Penalised(Elements(names), share, job.penalty)
        even = job.method == "prox-sg"
        return Penalised(Blocks(channels, slices, even=even), share, job.penalty)

    def _train(self, model: nn.Module, constraint: Constraint, name: str) -> nn.Module:
        job = self.job
        epochs = job.epochs
        if epochs is None:
            epochs = default_epochs(self.data.sizes[0], steps=STEPS)
        recipe = Recipe(
            purpose=name,
            epochs=epochs,
            learning_rate=job.learning_rate,
            seed=job.seed,
            optimizer=job.optimizer,
            average=job.average,
            teacher=job.workload.model,
            held_by=constraint,
            state=job.state and job.state / f"{name}.safetensors",
            progress=job.progress,
        )
        trained, training = train(model, self.data, recipe)
        self.training.append(training)
        if isinstance(constraint, SparseTraining):
            reached = constraint.by_itself or 0.0
            self.penalty = PenaltyFound(constraint.weight, reached)
        return trained

    def _smaller(self, sparse: Reached) -> tuple[list[Reached], Plan, float]:
        """Without the channels that are zero throughout: as it is, and trained again.

        Zeros that are left stay where they are.
        """
        graph = survey(sparse.model, self.bench.inputs)
        plan = plan_of_zeros(sparse.model, graph, self.data.calibration)
        model = apply(sparse.model, self.graph, plan)
        difference = self._difference(sparse.model, model)
        found = [self._reached("materialised", model)]
        if plan.kept:
            zeros = masks.zeros_of(model)
            trained = self._train(model, Frozen(zeros), "retrained")
            found.append(self._reached("retrained", trained))
        else:
            self._note("no channel is zero throughout: nothing could be removed")
        return found, plan, difference

    def _difference(self, first: nn.Module, second: nn.Module) -> float:
        """Largest one between two models, as a share of the largest output."""
        x, _ = next(iter(self.data.validation))
        with evaluating(first), evaluating(second), torch.no_grad():
            expected, found = first(x), second(x)
        difference = float((expected - found).abs().max())
        return difference and difference / max(float(expected.abs().max()), 1e-12)

    def _reached(self, name: str, model: nn.Module) -> Reached:
        """Figures that need no file."""
        graph = analyse(model, self.bench.inputs)
        cost = count(graph.traced)
        accuracy = evaluate(model, self.data.validation)
        step = SparseStep(
            name, sparsity_of(model, graph), accuracy, cost.macs, cost.params
        )
        return Reached(model, step)

    def _note_others(self, model: nn.Module) -> None:
        """Say it if weights of other layers than these count as none."""
        known = {*masks.weights_of(model)}
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

    def _proved(
        self,
        steps: Sequence[Reached],
        smaller: tuple[list[Reached], Plan, float] | None,
        reason: str,
    ) -> SparseOutcome:
        """The files, proved, and timed in turn; the one reading of the test split."""
        more, plan, difference = smaller or ([], None, None)
        delivered = [steps[0], *steps[1:][-1:], *more[-1:]]
        names = ("baseline", "sparse", "smaller")
        files = [
            self.bench.export(item.model, name)
            for item, name in zip(delivered, names, strict=False)
        ]
        self.job.progress.start("measure", 2)
        parity = deliver.prove(files[-1], self.data)
        self.job.progress.advance("parity")
        timings = self.bench.compare(files)
        self.job.progress.finish(
            ", ".join(milliseconds(item.median_ms) for item in timings)
        )
        measured = {
            id(item): self._measured(item.step, file, timing)
            for item, file, timing in zip(delivered, files, timings, strict=True)
        }
        surgery = Surgery()
        if plan is not None:
            surgery = plan_surgery(steps[-1].model, self.graph, plan)
        return SparseOutcome(
            met=not reason,
            reason=reason,
            floor=self.floor,
            steps=tuple(measured.get(id(item), item.step) for item in (*steps, *more)),
            files=tuple(files),
            timings=tuple(timings),
            training=tuple(self.training),
            penalty=self.penalty,
            removed=plan,
            surgery=surgery,
            difference=difference,
            parity=parity,
            notes=tuple(self.notes),
        )

    def _measured(self, step: SparseStep, file: Exported, timing: Timing) -> SparseStep:
        """With what is known of the file only."""
        return replace(
            step,
            latency_ms=timing.median_ms,
            size_bytes=file.path.stat().st_size,
            test_accuracy=deliver.tested_accuracy(file.path, self.data),
        )


def by_weight(job: SparseJob) -> bool:
    """Whether a share of weights is meant, and not of channels."""
    return job.method == "magnitude" or job.regulariser == "weights"


def share_of(job: SparseJob, step: SparseStep) -> float:
    """What is zero already, in what the method counts."""
    return step.sparsity.overall if by_weight(job) else step.sparsity.channels


def sparsity_of(model: nn.Module, graph: ChannelGraph) -> Sparsity:
    """The zeros of a network."""
    tensors = dict(model.named_parameters())

    def zeros(names: Sequence[str]) -> tuple[int, int]:
        left = sum(int(tensors[name].count_nonzero()) for name in names)
        size = sum(tensors[name].numel() for name in names)
        return size - left, size

    zero, size = zeros(masks.weights_of(model))
    of_convolutions, convolved = zeros(masks.weights_of(model, *CONVOLUTIONS))
    channels = Channels(model, graph.groups)
    throughout = zero_channels(model, channels).float()
    held = {name: value.contiguous() for name, value in state_of(model).items()}
    return Sparsity(
        weights=size,
        overall=zero / max(size, 1),
        convolutions=of_convolutions / convolved if convolved else None,
        channels=float(throughout.mean()) if len(channels) else 0.0,
        gzip_bytes=len(gzip.compress(save(held), compresslevel=6, mtime=0)),
    )
