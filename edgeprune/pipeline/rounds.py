"""One round: a plan is applied, the network trained, and what came out measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from edgeprune import stop
from edgeprune.errors import TraceError
from edgeprune.export import deliver
from edgeprune.finetune.fresh import fresh
from edgeprune.finetune.loop import STEPS, default_epochs, evaluate, train
from edgeprune.finetune.recipe import Recipe
from edgeprune.pipeline.ground import Found, Ground
from edgeprune.pipeline.job import State
from edgeprune.pipeline.unfinished import Changed, Unfinished
from edgeprune.progress import SILENT
from edgeprune.reconstruct.fitting import Fitting, reconstruct
from edgeprune.records import (
    Attempt,
    Budget,
    ModelFigures,
    Reconstruction,
    Step,
    Surgery,
    Training,
    pressure_of,
)
from edgeprune.units import milliseconds

NOISE = 1.02  # times as long is not slower
SCRATCH_STEPS = 2000  # of training from fresh weights, where --epochs does not say
GROWTH_STEPS = 1000  # of training what has become wider
PARTS = 3  # a round on the way takes one of them of the last one's epochs or time
LEAST_SECONDS = 5.0  # of training, when the time is over


@dataclass(frozen=True)
class Rounds:
    """What all rounds of a run have in common.

    Attributes:
        floor: the lowest validation accuracy that is accepted.
    """

    ground: Ground
    floor: float

    def changed(
        self, start: State, find: Callable[[], Found], kind: str = "round"
    ) -> Changed:
        """What is made of a network by the plan that is found for it.

        Kept on disk, and taken from there where an earlier process was stopped.

        Args:
            kind: of round, as its step will be called.
        """
        ground = self.ground
        journal, job, number = ground.journal, ground.job, ground.journal.number
        kept = Unfinished(job.state)
        before, model = len(start.plans), start.exported.model
        done = kept.found(number, before, model, journal)
        if done is not None:
            journal.note(f"round {number} was begun by an earlier process")
            return done
        found = find()
        plan = found.candidate.plan
        model, surgery = found.candidate.applied()
        if job.from_scratch:
            model = fresh(model, job.seed)
        elif job.reconstruct and self._goes_on(found):
            name = f"{kind} {number}"
            model = self._reconstructed(name, start, model, surgery)
        changed = Changed(model, surgery, plan, found.fits)
        kept.keep(number, before, changed, journal)
        return changed

    def _slowest(self, usual: float) -> float:
        """What a round may take; where no time was asked for, as long as at first."""
        budget, limits = self.ground.budget, self.ground.limits
        if budget == Budget() or budget.latency_ms is not None:
            return usual
        return max(usual, limits.latency_ms or 0.0)

    def _goes_on(self, found: Found) -> bool:
        """Whether a plan will be used, and takes something away."""
        once = self.ground.job.structure == "pca"
        return not found.candidate.plan.copies and (found.fits or not once)

    def shrunk(
        self, start: State, changed: Changed, goal: float
    ) -> tuple[State, stop.Standing]:
        """A round that is to save time: undone if it does not."""
        number = self.ground.journal.number
        recipe = self.recipe(f"finetune {number}", goal)
        state, costs, before = self._trained(start, changed, recipe)
        trials = self.ground.trials
        usual = start.figures.latency_ms * trials.usual_ms / start.beside.median_ms
        pays = costs.latency_ms <= self._slowest(usual) * NOISE
        if not pays:
            self.ground.journal.note(
                f"round {number} was undone: {milliseconds(costs.latency_ms)}, and "
                f"{milliseconds(usual)} before it"
            )
        accepted = pays and _accuracy(state) >= self.floor
        step = _step(f"round {number}", state.figures, before, valid=accepted)
        self.ground.journal.steps.append(step)
        pressure = pressure_of(costs, self.ground.limits)
        return state, stop.Standing(step, pressure, changed.fits)

    def grown(self, start: State, changed: Changed) -> tuple[State, float] | None:
        """A round that is to win accuracy within the budget, and the pressure then.

        Trained by the labels alone: what is wider than the original would learn from
        it to be as good as that. None if it was undone.
        """
        number, job = self.ground.journal.number, self.ground.job
        recipe = self.recipe(f"grow {number}", 1.0)
        if job.epochs is None:
            samples = job.workload.data.sizes[0]
            epochs = default_epochs(samples, steps=GROWTH_STEPS)
            recipe = replace(recipe, epochs=epochs)
        optimizer = job.optimizer or "sgd"
        recipe = replace(recipe, teacher=None, hints=False, optimizer=optimizer)
        state, costs, before = self._trained(start, changed, recipe)
        pressure = pressure_of(costs, self.ground.limits)
        better = _accuracy(state) > _accuracy(start)
        step = _step(f"growth {number}", state.figures, before, valid=better)
        self.ground.journal.steps.append(step)
        if better and pressure <= 1:
            return state, pressure
        self.ground.journal.note(
            f"growth {number} was undone: {milliseconds(costs.latency_ms)} and "
            f"validation accuracy {_accuracy(state):.2%}, {_accuracy(start):.2%} "
            "before it"
        )
        return None

    def recipe(self, purpose: str, goal: float) -> Recipe:
        """Training by distillation; short where it only goes part of the way."""
        job, last = self.ground.job, goal <= 1
        epochs = job.epochs if job.train else 0
        if epochs is None:
            steps = SCRATCH_STEPS if job.from_scratch else STEPS
            most = default_epochs(job.workload.data.sizes[0], steps=steps)
            epochs = most if last else math.ceil(most / PARTS)
        whole, start = _accuracy(self.ground.baseline), _accuracy(self.ground.start)
        quantised = max(0.0, whole - start)  # what it costs; training is judged before
        floor = self.floor + quantised
        enough = floor if job.stop_at_floor else None
        if not last:
            enough = min(enough or 1.0, whole)
        return replace(
            job.recipe,
            purpose=purpose,
            epochs=epochs,
            seconds=self._seconds(last=last),
            teacher=None if job.distil == "no" else job.workload.model,
            hints=job.distil == "features",
            optimizer=job.optimizer or ("sgd" if job.from_scratch else "muon"),
            enough=enough,
            floor=floor,
        )

    def _seconds(self, *, last: bool) -> float | None:
        """What a training may take of the time that is left, if that is limited.

        A round that only goes part of the way leaves most of it to those that follow,
        as does the last one where the network is to grow.
        """
        job = self.ground.job
        if job.minutes is None:
            return None
        spent = self.ground.journal.stage_seconds.get("finetune", 0.0)
        left = max(60 * job.minutes - spent, LEAST_SECONDS)
        left /= 1 if last and job.growth == "no" else PARTS
        return left / 2 if job.recipe.inpaint else left  # trained twice

    def _trained(
        self, start: State, changed: Changed, recipe: Recipe
    ) -> tuple[State, Attempt, float]:
        """The changed network after training, its costs, and its accuracy before."""
        ground = self.ground
        journal, data = ground.journal, ground.job.workload.data
        number = journal.number
        with journal.stage("finetune"):
            trained, training = self._finetuned(changed.model, recipe)
        journal.training.append(training)
        if training.epochs and not training.best_epoch:
            journal.note(f"{recipe.purpose}: no epoch was better than its start")
        with journal.stage("measure"):
            exported = ground.bench.export(trained, f"round{number}")
            base, timing = ground.trials.timed(exported)
            figures = ground.bench.figures(exported, timing)
            costs = ground.trials.costs(exported, (base, timing), ground.limits)
        accuracy = deliver.validation_accuracy(exported.path, data)
        figures = replace(figures, validation_accuracy=accuracy)
        state = State(
            exported,
            figures,
            base,
            (*start.plans, changed.plan),
            start.surgery.then(changed.surgery),
        )
        return state, costs, training.accuracy_before

    def _finetuned(
        self, model: nn.Module, recipe: Recipe
    ) -> tuple[nn.Module, Training]:
        """The trained network; with a second head and without, which tells its gain."""
        data, kept = self.ground.job.workload.data, Unfinished(self.ground.job.state)
        progress = recipe.progress if recipe.epochs else SILENT
        state = kept.training(recipe.purpose)
        recipe = replace(recipe, state=state, progress=progress)
        trained, training = train(model, data, recipe)
        if training.second_head is None or not training.epochs:
            return trained, training
        alone = f"{recipe.purpose}, one head"
        state = kept.training(alone)
        plain = replace(recipe, inpaint=0.0, purpose=alone, state=state)
        other, without = train(model, data, plain)
        better = training.best_accuracy >= without.best_accuracy
        head = replace(
            training.second_head,
            accuracy_without=without.best_accuracy,
            kept=better and training.best_epoch > 0,
        )
        return trained if better else other, replace(training, second_head=head)

    def _reconstructed(
        self, name: str, start: State, changed: nn.Module, surgery: Surgery
    ) -> nn.Module:
        """The changed network with its layers fitted, if it is better for it.

        Fitted to what the round started from, which was trained; without training to
        the original, so that errors do not add up.
        """
        job, journal = self.ground.job, self.ground.journal
        data = job.workload.data
        whole = start.exported.model
        if not job.train:
            whole, surgery = job.workload.model, start.surgery.then(surgery)
        with journal.stage("reconstruct"):
            before, began = evaluate(changed, data.validation), time.perf_counter()
            how = Fitting(seed=job.seed, progress=job.progress)
            try:
                fitted = reconstruct(whole, changed, surgery, data.calibration, how)
            except TraceError as error:
                journal.note(f"not reconstructed: {error}")
                return changed
            seconds = time.perf_counter() - began
            after = evaluate(fitted.model, data.validation)
        journal.reconstructions.append(
            Reconstruction(
                name,
                fitted.layers,
                fitted.samples,
                seconds,
                before,
                after,
            )
        )
        return fitted.model if after >= before else changed


def unpruned_step(name: str, figures: ModelFigures) -> Step:
    """A point that all curves start from."""
    return _step(name, figures, figures.validation_accuracy or 0.0, valid=True)


def _accuracy(state: State) -> float:
    return state.figures.validation_accuracy or 0.0


def _step(name: str, figures: ModelFigures, before: float, *, valid: bool) -> Step:
    return Step(
        name=name,
        latency_ms=figures.latency_ms,
        macs=figures.macs,
        params=figures.params,
        accuracy_before_training=before,
        validation_accuracy=figures.validation_accuracy or 0.0,
        valid=valid,
    )
