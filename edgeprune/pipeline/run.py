"""The main job: profile -> score -> prune -> finetune -> export.

`Run.go` is the stages and the loop, readable top to bottom. Stages exchange records
and do not know each other; only here do they meet.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from edgeprune import stop
from edgeprune.export import deliver
from edgeprune.finetune.fresh import fresh
from edgeprune.finetune.loop import (
    STEPS,
    Recipe,
    default_epochs,
    flushing_denormals,
    train,
)
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import evaluating
from edgeprune.measure.bench import Bench
from edgeprune.pipeline.job import Job, Journal, Outcome, State, check_job
from edgeprune.pipeline.search import BySolver, ByVariance, Ground, Search
from edgeprune.pipeline.trials import Trials
from edgeprune.profile.network import Profile, profile_network
from edgeprune.prune import planner
from edgeprune.records import (
    Attempt,
    Budget,
    ModelFigures,
    Spectra,
    Step,
    Timing,
    TimingSummary,
    pressure_of,
)
from edgeprune.score.context import Context
from edgeprune.score.pca import spectra
from edgeprune.score.ungrouped import ungrouped, united
from edgeprune.workload import check_outputs

NOISE = 1.02  # times as long is not slower
CHANCE = 1.5  # times the accuracy of guessing; a trained baseline is above

SCRATCH_STEPS = 2000  # of training from fresh weights, where --epochs does not say

FEW = 50  # validation samples; with fewer, one answer is more than the default drop


class Run:
    """One run: what it was asked for, what it measures with, what it has found.

    Args:
        folder: where files are written; it exists.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.data = job.workload.data
        self.bench = Bench(job.runner, job.workload.inputs, folder, job.dynamic_batch)
        self.journal = Journal()

    def go(self) -> Outcome:
        """The most accurate network within the budget, and how it came about.

        Raises:
            EdgepruneError: a stage refuses its input or fails.
        """
        check_job(self.job)
        with flushing_denormals():
            self.profile, self.baseline = self._profile()
            base_ms = self.baseline.figures.latency_ms
            self.trials = Trials(self.bench, self.baseline.exported, [base_ms])
            self.floor = self.job.floor(self.baseline.figures.validation_accuracy or 0)
            self.limits = self._limits()
            self.search = self._search()
            decision, result = self._loop()
            return self._deliver(self._final(decision, result), result)

    def _profile(self) -> tuple[Profile, State]:
        """Stage 1: what does the network cost, and how accurate is it?"""
        with self.journal.stage("profile"):
            workload = self.job.workload
            self._check_outputs()
            profile = profile_network(workload.model, self.bench, self.job.progress)
            found = deliver.validation_accuracy(profile.exported.path, self.data)
        figures = replace(profile.figures, validation_accuracy=found)
        self.journal.steps.append(_step("baseline", figures, found, valid=True))
        if found < CHANCE / self.data.classes:
            note = f"the baseline guesses (accuracy {found:.1%}): is --weights missing?"
            self.journal.notes.append(note)
        if (count := self.data.sizes[1]) < FEW:
            note = f"validation has {count} samples only: each is {1 / count:.1%}"
            self.journal.notes.append(note)
        return profile, State(profile.exported, figures, figures.timing)

    def _check_outputs(self) -> None:
        """The model returns class scores, enough of them for the labels."""
        x, y = next(iter(self.data.validation))
        model = self.job.workload.model
        try:
            with evaluating(model), torch.no_grad():
                outputs = model(x)
        except Exception:  # noqa: BLE001  the trace, which comes next, explains it
            return
        check_outputs(outputs, y)

    def _limits(self) -> Budget:
        """The budget; without one in ms, the result must not be slower at least."""
        budget = self.job.budget
        if budget.latency_ms is not None or budget == Budget():
            return budget
        return replace(self.job.budget, latency_ms=self.baseline.figures.latency_ms)

    def _search(self) -> Search:
        """How rounds find their plans."""
        ground = Ground(
            self.job,
            self.bench,
            self.journal,
            self.trials,
            self.profile,
            self.baseline,
            self.limits,
        )
        if self.job.structure == "solver":
            return BySolver(ground)
        return ByVariance(ground, self._ungrouped() if self.job.ungrouped else None)

    def _loop(self) -> tuple[stop.Decision, State]:
        """Stages 2 to 4, until the budget is met, the floor reached, or all is gone."""
        if self.job.structure == "pca":
            return self._once()
        pressure = pressure_of(self.baseline.figures, self.limits)
        refusal = self.search.refusal() if pressure > 1 else None
        if refusal is not None:
            return stop.Decision("exhausted", refusal), self.baseline
        states: list[State] = []
        history: list[stop.Standing] = []
        while True:
            decision = stop.decide(history, pressure, self.floor)
            start = self.baseline if decision.resume < 0 else states[decision.resume]
            if decision.goal is None:
                return decision, start
            state, standing = self._round(start, decision.goal)
            states.append(state)
            history.append(standing)

    def _final(self, decision: stop.Decision, result: State) -> stop.Decision:
        """Nothing is met by a model below the floor, the baseline included."""
        found = result.figures.validation_accuracy or 0.0
        if found >= self.floor:
            return decision
        reason = (
            f"the baseline's own validation accuracy {found:.2%} is below the floor "
            f"{self.floor:.2%}, and no pruned model is above it"
        )
        return replace(decision, verdict="floor", reason=reason)

    def _round(self, start: State, goal: float) -> tuple[State, stop.Standing]:
        """Score, prune to a goal, fine-tune, and measure what came out."""
        graph = self._groups(start)
        found = self.search.find(start, graph, self._relaxed(goal))
        return self._shrunk(start, graph, found, goal)

    def _once(self) -> tuple[stop.Decision, State]:
        """One analysis, one training: no rounds."""
        graph = self.profile.graph
        found = self.search.find(self.baseline, graph, self.limits)
        if not found.fits:
            reason = (
                "the budget is out of reach of widths by variance: with "
                f"{found.attempt.variance:.4g} of it there are still "
                f"{found.attempt.latency_ms:.2f} ms, {found.attempt.macs / 1e6:.2f} M "
                f"MACs, {found.attempt.params / 1e6:.3f} M parameters; --structure "
                "solver goes further"
            )
            return stop.Decision("exhausted", reason), self.baseline
        state, standing = self._shrunk(self.baseline, graph, found, 1.0)
        if standing.step.valid and standing.pressure <= 1:
            return stop.Decision("met", "the network fits", resume=0), state
        if standing.step.valid:
            reason = "after training it takes a little more than before"
            return stop.Decision("exhausted", reason, resume=0), state
        if standing.step.validation_accuracy >= self.floor:
            return stop.Decision("exhausted", "it became no faster"), self.baseline
        reason = (
            f"its validation accuracy {standing.step.validation_accuracy:.2%} is below "
            f"the floor {self.floor:.2%}; more --epochs, a larger --variance or a "
            "larger --max-drop would help"
        )
        return stop.Decision("floor", reason), self.baseline

    def _shrunk(
        self, start: State, graph: ChannelGraph, found: planner.Search, goal: float
    ) -> tuple[State, stop.Standing]:
        """Apply a plan, train, and measure what came out."""
        number = len(self.journal.steps)
        pruned = apply(start.exported.model, graph, found.plan)
        surgery = plan_surgery(start.exported.model, graph, found.plan)
        if self.job.from_scratch:
            pruned = fresh(pruned, self.job.seed)
        with self.journal.stage("finetune"):
            trained, training = train(
                pruned, self.data, self._recipe(f"finetune {number}", goal)
            )
        self.journal.training.append(training)
        with self.journal.stage("measure"):
            exported = self.bench.export(trained, f"round{number}")
            base, timing = self.trials.timed(exported)
            figures = self.bench.figures(exported, timing)
            costs = self.trials.costs(exported, (base, timing), self.limits)
        accuracy = deliver.validation_accuracy(exported.path, self.data)
        figures = replace(figures, validation_accuracy=accuracy)
        pays = self._pays(start, costs, number)
        valid, before = accuracy >= self.floor and pays, training.accuracy_before
        step = _step(f"round {number}", figures, before, valid=valid)
        self.journal.steps.append(step)
        standing = stop.Standing(step, pressure_of(costs, self.limits), found.fits)
        plans = (*start.plans, found.plan)
        whole = start.surgery.then(surgery)
        return State(exported, figures, base, plans, whole), standing

    def _relaxed(self, goal: float) -> Budget:
        """Limits of a round that goes only part of the way; never slower than now."""

        def times(limit: int | None) -> int | None:
            return None if limit is None else round(limit * goal)

        latency_ms = (self.limits.latency_ms or 0.0) * goal
        return Budget(
            latency_ms=min(latency_ms, self.baseline.figures.latency_ms),
            macs=times(self.limits.macs),
            params=times(self.limits.params),
            size_bytes=times(self.limits.size_bytes),
            memory_bytes=times(self.limits.memory_bytes),
        )

    def _groups(self, start: State) -> ChannelGraph:
        if start is self.baseline:
            return self.profile.graph
        return survey(start.exported.model, self.bench.inputs)

    def _ungrouped(self) -> Spectra | None:
        """The spectra of a trained proxy whose convolutions are dense."""
        proxy = ungrouped(self.baseline.exported.model)
        if proxy is None:
            self.journal.note("no convolution is grouped: no proxy was trained")
            return None
        with self.journal.stage("score"):
            recipe = self._recipe("proxy", 1.0)
            proxy, training = train(proxy, self.data, recipe)
            self.journal.training.append(training)
            graph = survey(proxy, self.bench.inputs)
            context = Context(
                proxy,
                graph,
                self.data.calibration,
                seed=self.job.seed,
                progress=self.job.progress,
            )
            return united(spectra(context), graph, self.profile.graph)

    def _recipe(self, purpose: str, goal: float) -> Recipe:
        """Training; short in a round that only goes part of the way."""
        epochs = self.job.epochs
        if epochs is None:
            steps = SCRATCH_STEPS if self.job.from_scratch else STEPS
            whole = default_epochs(self.data.sizes[0], steps=steps)
            epochs = whole if goal <= 1 else math.ceil(whole / 3)
        return Recipe(
            purpose=purpose,
            epochs=epochs,
            learning_rate=self.job.learning_rate,
            seed=self.job.seed,
            teacher=self.job.workload.model,
            progress=self.job.progress,
        )

    def _pays(self, start: State, costs: Attempt, number: int) -> bool:
        """Whether a round that was to save milliseconds did; else it is undone."""
        before = (
            start.figures.latency_ms * self.trials.usual_ms / start.beside.median_ms
        )
        if costs.latency_ms <= before * NOISE:
            return True
        note = (
            f"round {number} was undone: {costs.latency_ms:.2f} ms, and "
            f"{before:.2f} ms before it"
        )
        self.journal.notes.append(note)
        return False

    def _deliver(self, decision: stop.Decision, result: State) -> Outcome:
        """Stage 5: the files, proved; the one reading of the test split."""
        progress = self.job.progress
        progress.start("export", 3)
        with self.journal.stage("export"):
            parity = deliver.prove(result.exported, self.data)
            progress.advance("parity")
            int8 = deliver.Int8(deliver.NOT_ASKED)
            if "int8" in self.job.precisions:
                int8 = deliver.try_int8(
                    result.exported, self.bench, self.data, self.floor
                )
            progress.advance("int8")
            baseline = self._with_test_accuracy(_retimed(self.baseline, result.beside))
            final = baseline
            if result is not self.baseline:
                final = self._with_test_accuracy(result)
            progress.advance("test split")
        progress.finish(
            f"parity {parity.largest_relative:.1e}; int8: {int8.verdict.reason}"
        )
        self._note_int8(decision, int8)
        self._note_denormals(result)
        proofs = (parity, int8.parity) if int8.parity else (parity,)
        return Outcome(
            met=decision.verdict == "met",
            reason=decision.reason,
            floor=self.floor,
            profile=self.profile,
            baseline=baseline,
            result=final,
            int8=int8,
            parity=proofs,
            journal=self.journal,
        )

    def _note_int8(self, decision: stop.Decision, int8: deliver.Int8) -> None:
        """Say so where the int8 file meets what the fp32 file does not."""
        if decision.verdict == "met" or int8.figures is None:
            return
        if pressure_of(int8.figures, self.job.budget) <= 1:
            note = (
                f"the int8 file is within the budget: {int8.figures.latency_ms:.2f} ms"
            )
            self.journal.notes.append(note)

    def _note_denormals(self, result: State) -> None:
        """What was won by setting denormal weights to 0."""
        count = result.exported.denormals
        if count:
            before, after = deliver.with_denormals(result.exported, self.bench)
            note = (
                f"{count} denormal weights were set to 0: "
                f"{before.median_ms:.2f} -> {after.median_ms:.2f} ms"
            )
            self.journal.notes.append(note)

    def _with_test_accuracy(self, state: State) -> State:
        found = deliver.tested_accuracy(state.exported.path, self.data)
        return replace(state, figures=replace(state.figures, test_accuracy=found))


def _retimed(state: State, timing: Timing) -> State:
    """The same network by another measurement of it."""
    summary = TimingSummary.of(timing)
    return replace(
        state, figures=replace(state.figures, timing=timing, summary=summary)
    )


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
