"""One round: a plan is found, applied, its network trained, and the file measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from torch import nn

from edgeprune import stop
from edgeprune.errors import TraceError
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.fresh import fresh
from edgeprune.pipeline.checkpoint import PrunedModel, RunCheckpoint
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.pipeline.limits import NOISE
from edgeprune.pipeline.search.base import FoundPlan, Search
from edgeprune.pipeline.steps import step_of
from edgeprune.pipeline.training import Trainings
from edgeprune.reconstruct.fitting import reconstruct
from edgeprune.reconstruct.layer_fits import AS_USUAL, Fitting
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import Budget, Reconstruction, pressure_of
from edgeprune.units import milliseconds

QUICK = Fitting(samples=1024, rows=4096, turns=1)  # for a quick answer


@dataclass(frozen=True)
class Rounds:
    """Carries out rounds, one after another.

    Attributes:
        valid: what they have made so far, the last one last.
    """

    context: RunContext
    valid: list[ModelSnapshot] = field(default_factory=list)

    @property
    def trainings(self) -> Trainings:
        """How their networks are trained."""
        return Trainings(self.context)

    def pruned(
        self, start: ModelSnapshot, search: Search, limits: Budget, kind: str = "round"
    ) -> PrunedModel:
        """Find a plan for a network, apply it and fit the layers that are left.

        Kept on disk, and taken from there where an earlier process was stopped.

        Args:
            limits: of this round.
            kind: of round, as its step will be called.
        """
        context, log = self.context, self.context.log
        settings, number = context.settings, log.round_number
        checkpoint = RunCheckpoint(context.job.state)
        pruned = checkpoint.resume(number, start.model, log)
        if pruned is not None:
            log.note(f"round {number} was begun by an earlier process")
        else:
            pruned = self._found(search.find(start, limits))
            checkpoint.keep(number, start.model, pruned, log)
        if not pruned.finished:
            if settings.from_scratch:
                model = fresh(pruned.model, settings.seed)
            else:
                model = self._reconstructed(f"{kind} {number}", start, pruned)
            pruned = replace(pruned, model=model, finished=True)
            checkpoint.keep(number, start.model, pruned, log)
        return pruned

    def _found(self, found: FoundPlan) -> PrunedModel:
        """A plan's network, and whether something is still to be done with it."""
        settings, candidate = self.context.settings, found.candidate
        fitted = settings.reconstruct and self._goes_on(found)
        return PrunedModel(
            candidate.network,
            candidate.surgery,
            candidate.plan,
            found.fits,
            finished=not (settings.from_scratch or fitted),
            paired=candidate.timings[-1] if candidate.timings else None,
        )

    def shrink(
        self, start: ModelSnapshot, pruned: PrunedModel, limits: Budget, goal: float
    ) -> tuple[ModelSnapshot, stop.RoundResult]:
        """Train a round that is to save time; it is undone if it does not.

        Args:
            limits: of the run.
            goal: times these, to which the round has pruned.
        """
        log, number = self.context.log, self.context.log.round_number
        accuracy = self._accuracy(f"round {number}", pruned.model)
        config = self.trainings.finetune_config(f"finetune {number}", goal, accuracy)
        snapshot, before = self._trained(start, pruned, config)
        ratio, most = snapshot.costs.latency_ratio, self.slowest(start)
        pays = ratio <= most * NOISE
        if not pays:
            reference = self.context.evaluator.reference.ms
            log.note(
                f"round {number} was undone: {milliseconds(snapshot.costs.latency_ms)},"
                f" and {milliseconds(start.costs.latency_ratio * reference)} before it"
            )
        accepted = pays and snapshot.accuracy >= self.context.floor
        step = step_of(f"round {number}", snapshot, before, valid=accepted)
        log.steps.append(step)
        if accepted:
            self.valid.append(snapshot)
        pressure = pressure_of(snapshot.costs, limits)
        return snapshot, stop.RoundResult(step, pressure, pruned.fits)

    def slowest(self, start: ModelSnapshot) -> float:
        """The most that a round's file may take, as a share of the baseline's time.

        No more than before it; where no time was asked for, no more than the original.
        """
        before, budget = start.costs.latency_ratio, self.context.budget
        if budget == Budget() or budget.limits_time:
            return before
        return max(before, 1.0)

    def grow(
        self, start: ModelSnapshot, pruned: PrunedModel, limits: Budget
    ) -> ModelSnapshot | None:
        """Train a round that is to win accuracy within the budget; None if undone.

        A measurement of its own says whether it is within the budget.
        """
        log, number = self.context.log, self.context.log.round_number
        config = self.trainings.growth_config(f"grow {number}")
        snapshot, before = self._trained(start, pruned, config)
        better = snapshot.accuracy > start.accuracy
        log.steps.append(step_of(f"growth {number}", snapshot, before, valid=better))
        if better and pressure_of(snapshot.costs, limits) <= 1:
            snapshot = self.context.evaluator.remeasured(snapshot, limits)
            if pressure_of(snapshot.costs, limits) <= 1:
                self.valid.append(snapshot)
                return snapshot
        metric = self.context.metric
        log.note(
            f"growth {number} was undone: {milliseconds(snapshot.costs.latency_ms)} "
            f"and validation {metric.told(snapshot.accuracy)}, "
            f"{metric.text(start.accuracy)} before it"
        )
        return None

    def _accuracy(self, name: str, model: nn.Module) -> float | None:
        """A pruned network's validation accuracy; None where nothing goes by it."""
        for item in self.context.log.reconstructions:
            if item.purpose == name:
                return max(item.accuracy_before, item.accuracy_after)
        asked = self.trainings.in_proportion
        return self.context.evaluator.accuracy(model) if asked else None

    def _goes_on(self, found: FoundPlan) -> bool:
        """Whether a plan will be used, and takes something away."""
        once = self.context.settings.structure == "pca"
        return not found.candidate.plan.copies and (found.fits or not once)

    def _trained(
        self, start: ModelSnapshot, pruned: PrunedModel, config: TrainingConfig
    ) -> tuple[ModelSnapshot, float]:
        """The network after training, with its file; its accuracy before.

        What was measured of the plan is its time, too: weights do not change it. The
        run measures the file itself before it ends.
        """
        log, evaluator = self.context.log, self.context.evaluator
        number = log.round_number
        with log.stage("finetune"):
            trained, training = self.trainings.train(pruned.model, config)
        log.training.append(training)
        if training.epochs and not training.best_epoch:
            log.note(f"{config.purpose}: no epoch was better than its start")
        with log.stage("measure"):
            exported = evaluator.benchmark.export(trained, f"round{number}")
            paired = pruned.paired or evaluator.time(exported)
            snapshot = evaluator.snapshot(
                exported,
                paired,
                plans=(*start.plans, pruned.plan),
                surgery=start.surgery.then(pruned.surgery),
            )
        return snapshot, training.accuracy_before

    def _good_enough(self, network: nn.Module) -> nn.Module | None:
        """The network with new statistics of batch norms, if nothing seems missing.

        That is enough for a quick answer.
        """
        context = self.context
        data, device = context.data.calibration, context.job.device
        found = restated(network, data, device)
        enough = context.evaluator.accuracy(found) >= context.baseline.accuracy
        return found if enough else None

    def _reconstructed(
        self, name: str, start: ModelSnapshot, pruned: PrunedModel
    ) -> nn.Module:
        """A plan's network with its layers fitted, if it is better for it.

        Fitted to what the round started from, which was trained; without training to
        the original, so that errors do not add up.
        """
        context, log = self.context, self.context.log
        network, surgery, whole = pruned.model, pruned.surgery, start.model
        if not context.settings.train:
            whole = context.job.workload.model
            surgery = start.surgery.then(surgery)
        quick = context.settings.effort == "quick"
        with log.stage("reconstruct"):
            if quick and (enough := self._good_enough(network)) is not None:
                return enough
            before, began = context.evaluator.accuracy(network), time.perf_counter()
            how = replace(
                QUICK if quick else AS_USUAL,
                seed=context.settings.seed,
                progress=context.progress,
                device=context.job.device,
            )
            try:
                fitted = reconstruct(
                    whole, network, surgery, context.data.calibration, how
                )
            except TraceError as error:
                log.note(f"not reconstructed: {error}")
                return network
            seconds = time.perf_counter() - began
            after = context.evaluator.accuracy(fitted.model)
        log.reconstructions.append(
            Reconstruction(name, fitted.layers, fitted.samples, seconds, before, after)
        )
        return fitted.model if after >= before else network
