"""The main job: profile -> score -> prune -> finetune -> export.

`Run.go` is the stages and the loop, readable top to bottom. Stages exchange records
and do not know each other; only here do they meet.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from edgeprune import stop
from edgeprune.errors import ExportError
from edgeprune.export import deliver
from edgeprune.finetune.loop import (
    flushing_denormals,
    train,
)
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import evaluating
from edgeprune.measure.bench import Bench
from edgeprune.pipeline.by_solver import BySolver
from edgeprune.pipeline.by_variance import ByVariance
from edgeprune.pipeline.delivery import delivered
from edgeprune.pipeline.ground import Ground, Search
from edgeprune.pipeline.growth import Growth
from edgeprune.pipeline.job import Job, Journal, Outcome, State, check_job
from edgeprune.pipeline.low_rank import ByLowRank
from edgeprune.pipeline.rounds import Rounds, unpruned_step
from edgeprune.pipeline.trials import Trials
from edgeprune.profile.network import Profile, profile_network
from edgeprune.prune import planner
from edgeprune.prune.masks import zero_share
from edgeprune.records import (
    Budget,
    Spectra,
    pressure_of,
)
from edgeprune.score.context import Context
from edgeprune.score.pca import spectra
from edgeprune.score.ungrouped import ungrouped, united
from edgeprune.units import milliseconds
from edgeprune.workload import check_outputs

CHANCE = 1.5  # times the accuracy of guessing; a trained baseline is above


GIVEN_UP = 0.05  # of all weights are zero: worth a note

GROWN = 4  # rounds of growth at most

FEW = 50  # validation samples; with fewer, one answer is more than the default drop


class Run:
    """One run: what it was asked for, what it measures with, what it has found.

    Args:
        folder: where files are written; it exists.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.data = job.workload.data
        self.folder = folder
        self.journal = Journal()

    def go(self) -> Outcome:
        """The most accurate network within the budget, and how it came about.

        Raises:
            EdgepruneError: a stage refuses its input or fails.
        """
        check_job(self.job)
        with flushing_denormals():
            self.profile, self.baseline = self._profile()
            self.bench = self._bench()
            self.trials = Trials.of(self.profile, self.bench)
            self.floor = self.job.floor(self.baseline.figures.validation_accuracy or 0)
            self.budget = self.job.budget(self.baseline.figures)
            self.start = self._start()
            self.limits = self._limits()
            self.ground = self._ground()
            self.rounds = Rounds(self.ground, self.floor)
            self.search = self._search()
            decision, result = self._quantised_out() or self._pruned()
            return delivered(self.ground, decision, result, self.floor)

    def _profile(self) -> tuple[Profile, State]:
        """Stage 1: what does the network cost, and how accurate is it?"""
        with self.journal.stage("profile"):
            workload = self.job.workload
            self._check_outputs()
            plain = Bench(
                self.job.runner, workload.inputs, self.folder, self.job.dynamic_batch
            )
            profile = profile_network(workload.model, plain, self.job.progress)
            found = deliver.validation_accuracy(profile.exported.path, self.data)
        figures = replace(profile.figures, validation_accuracy=found)
        self.journal.steps.append(unpruned_step("baseline", figures))
        if found < CHANCE / self.data.classes:
            note = f"the baseline guesses (accuracy {found:.1%}): is --weights missing?"
            self.journal.notes.append(note)
        zeros = zero_share(workload.model)
        if zeros > GIVEN_UP:
            note = (
                f"{zeros:.0%} of the weights were zero at first; they are trained again"
            )
            self.journal.notes.append(note)
        self.journal.note(*profile.notes)
        if (count := self.data.sizes[1]) < FEW:
            note = f"validation has {count} samples only: each is {1 / count:.1%}"
            self.journal.notes.append(note)
        return profile, State(profile.exported, figures, figures.timing)

    def _bench(self) -> Bench:
        """Writes the files that count."""
        bench = self.profile.bench
        if self.job.precision == "fp32":
            return bench
        return replace(bench, calibration=self.data.calibration)

    def _start(self) -> State:
        """What rounds start from: the baseline, or a faster file of the same network.

        Raises:
            ExportError: int8 is refused, or is no faster.
        """
        if self.job.precision == "int8":
            return self._in_int8()
        if not self.bench.convolved:
            return self.baseline
        exported, (base, timing) = self.profile.start, self.profile.timings
        known = self.baseline.figures.validation_accuracy  # of the same function
        with self.journal.stage("profile"):
            figures = self.bench.figures(exported, timing)
        figures = replace(figures, validation_accuracy=known)
        self.journal.steps.append(unpruned_step("convolved", figures))
        return State(exported, figures, base)

    def _in_int8(self) -> State:
        """The unpruned network's int8 file.

        Raises:
            ExportError: int8 is refused, or is no faster.
        """
        with self.journal.stage("profile"):
            exported = self.profile.start.in_int8(self.data.calibration)
            base, timing = self.trials.timed(exported)
            found = deliver.validation_accuracy(exported.path, self.data)
        self.trials.share = timing.share_of(base)
        figures = replace(
            self.bench.figures(exported, timing), validation_accuracy=found
        )
        if self.trials.share >= 1:
            message = (
                f"int8 is no faster here: {milliseconds(timing.median_ms)}, and "
                f"{milliseconds(base.median_ms)} in fp32: leave --precision out."
            )
            raise ExportError(message)
        self.journal.steps.append(unpruned_step("int8", figures))
        return State(exported, figures, base)

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
        budget = self.budget
        if budget.latency_ms is not None or budget == Budget():
            return budget
        return replace(budget, latency_ms=self.baseline.figures.latency_ms)

    def _ground(self) -> Ground:
        """What searches stand on."""
        return Ground(
            self.job,
            self.bench,
            self.journal,
            self.trials,
            self.profile,
            self.baseline,
            self.start,
            self.budget,
            self.limits,
        )

    def _search(self) -> Search:
        """How rounds find their plans."""
        if self.job.structure == "solver":
            way = BySolver if self.job.low_rank == "no" else ByLowRank
            return way(self.ground)
        proxy = self._ungrouped() if self.job.ungrouped else None
        return ByVariance(self.ground, proxy)

    def _quantised_out(self) -> tuple[stop.Decision, State] | None:
        """The end, before anything is scored, where int8 alone costs too much."""
        whole, found = (
            state.figures.validation_accuracy or 0.0
            for state in (self.baseline, self.start)
        )
        if not found < self.floor <= whole:
            return None
        reason = (
            f"int8 alone takes the validation accuracy from {whole:.2%} to "
            f"{found:.2%}, below the floor {self.floor:.2%}: leave --precision out"
        )
        return stop.Decision("floor", reason), self.start

    def _pruned(self) -> tuple[stop.Decision, State]:
        """Stages 2 to 4, and growth into what is left of the budget."""
        decision, result = self._loop()
        if self.job.growth != "no":
            decision, result = self._grown(decision, result)
        return self._final(decision, result), result

    def _loop(self) -> tuple[stop.Decision, State]:
        """Stages 2 to 4, until the budget is met, the floor reached, or all is gone."""
        if self.job.structure == "pca":
            return self._once()
        if until_floor := self.budget == Budget():
            assert isinstance(self.search, BySolver)  # checked: all else has a budget
            self.ground.limits = self.limits = self.search.fastest()
        pressure = pressure_of(self.start.figures, self.limits)
        refusal = self.search.refusal() if pressure > 1 else None
        if refusal is not None:
            return stop.Decision("exhausted", refusal), self.start
        begin = stop.Standing(self.journal.steps[-1], pressure, reached=True)
        states: list[State] = []
        history: list[stop.Standing] = []
        while True:
            decision = stop.decide(history, begin, self.floor, until_floor=until_floor)
            start = self.start if decision.resume < 0 else states[decision.resume]
            if decision.goal is None:
                return decision, start
            state, standing = self._round(start, decision.goal)
            states.append(state)
            history.append(standing)

    def _grown(
        self, decision: stop.Decision, result: State
    ) -> tuple[stop.Decision, State]:
        """Widen what the budget leaves room for, as long as accuracy rises by it."""
        pressure = pressure_of(result.figures, self.limits)
        if decision.verdict != "met":
            return decision, result
        both = self.job.growth == "both"
        growth, best, count = Growth(self.ground, down=both), result, 0
        while count < GROWN and (both or pressure < planner.CLOSE):
            find = partial(growth.find, best, self._groups(best), self.limits)
            changed = self.rounds.changed(best, find, "growth")
            if not changed.fits or not (changed.plan.copies or changed.plan.kept):
                break
            grown = self.rounds.grown(best, changed)
            if grown is None:
                break
            best, pressure = grown
            count += 1
        reason = f"all budgets are met, after {count} rounds of growth"
        return replace(decision, reason=reason), best

    def _final(self, decision: stop.Decision, result: State) -> stop.Decision:
        """Nothing is met by a model below the floor, the baseline included."""
        found = result.figures.validation_accuracy or 0.0
        if found >= self.floor:
            return decision
        in_int8 = self.job.precision == "int8"
        whose = "the unpruned network's int8" if in_int8 else "the baseline's own"
        reason = (
            f"{whose} validation accuracy {found:.2%} is below the floor "
            f"{self.floor:.2%}, and no pruned model is above it"
        )
        return replace(decision, verdict="floor", reason=reason)

    def _round(self, start: State, goal: float) -> tuple[State, stop.Standing]:
        """Score, prune to a goal, fine-tune, and measure what came out."""
        limits = self._relaxed(goal)
        changed = self.rounds.changed(
            start, lambda: self.search.find(start, self._groups(start), limits)
        )
        return self.rounds.shrunk(start, changed, goal)

    def _once(self) -> tuple[stop.Decision, State]:
        """One analysis, one training: no rounds."""
        graph = self.profile.graph
        changed = self.rounds.changed(
            self.start, lambda: self.search.find(self.start, graph, self.limits)
        )
        if not changed.fits:
            least = self.journal.attempts[-1]
            reason = (
                "the budget is out of reach of widths by variance: with "
                f"{least.variance:.4g} of it there are still "
                f"{milliseconds(least.latency_ms)}, {least.macs / 1e6:.2f} M "
                f"MACs, {least.params / 1e6:.3f} M parameters; --structure "
                "solver goes further"
            )
            return stop.Decision("exhausted", reason), self.start
        state, standing = self.rounds.shrunk(self.start, changed, 1.0)
        if standing.step.valid and standing.pressure <= 1:
            return stop.Decision("met", "the network fits", resume=0), state
        if standing.step.valid:
            reason = "after training it takes a little more than before"
            return stop.Decision("exhausted", reason, resume=0), state
        if standing.step.validation_accuracy >= self.floor:
            return stop.Decision("exhausted", "it became no faster"), self.start
        reason = (
            f"its validation accuracy {standing.step.validation_accuracy:.2%} is below "
            f"the floor {self.floor:.2%}; more training, a larger --variance or a "
            "larger --max-drop would help"
        )
        return stop.Decision("floor", reason), self.start

    def _relaxed(self, goal: float) -> Budget:
        """Limits of a round that goes only part of the way; never slower than now."""

        def times(limit: int | None) -> int | None:
            return None if limit is None else round(limit * goal)

        latency_ms = (self.limits.latency_ms or 0.0) * goal
        return Budget(
            latency_ms=min(latency_ms, self.start.figures.latency_ms),
            macs=times(self.limits.macs),
            params=times(self.limits.params),
            size_bytes=times(self.limits.size_bytes),
            memory_bytes=times(self.limits.memory_bytes),
        )

    def _groups(self, start: State) -> ChannelGraph:
        if start is self.start:
            return self.profile.graph
        return survey(start.exported.model, self.bench.inputs)

    def _ungrouped(self) -> Spectra | None:
        """The spectra of a trained proxy whose convolutions are dense."""
        proxy = ungrouped(self.baseline.exported.model)
        if proxy is None:
            self.journal.note("no convolution is grouped: no proxy was trained")
            return None
        with self.journal.stage("score"):
            # It is to find maps of its own.
            recipe = replace(self.rounds.recipe("proxy", 1.0), hints=False)
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
