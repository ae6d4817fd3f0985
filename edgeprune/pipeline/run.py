"""The main job: profile -> score -> prune -> finetune -> export.

`run` is the whole story, readable top to bottom: prepare, rounds, finalize. Stages
exchange records and do not know each other; only in this folder do they meet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeprune import stop
from edgeprune.finetune.loop import flushing_denormals
from edgeprune.graph.survey import survey
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.finalize import finalize
from edgeprune.pipeline.job import Job, ModelSnapshot, Outcome, check_job
from edgeprune.pipeline.limits import beyond_device, relaxed
from edgeprune.pipeline.prepare import prepare
from edgeprune.pipeline.rounds import Rounds
from edgeprune.pipeline.search.growth import GrowthSearch
from edgeprune.pipeline.search.low_rank import FactoredSpaces
from edgeprune.pipeline.search.milp import MilpSearch
from edgeprune.pipeline.search.pca import PcaSearch
from edgeprune.pipeline.search.space import PlainSpaces
from edgeprune.progress import Forwarding, RunInterrupted
from edgeprune.prune import planner
from edgeprune.records import Budget, Spectra, pressure_of
from edgeprune.score.pca import spectra
from edgeprune.score.ungrouped import ungrouped, united
from edgeprune.units import milliseconds

GROWTH_ROUNDS = 4  # at most
Ended = tuple[stop.Decision, ModelSnapshot]


def run(job: Job, folder: Path) -> Outcome:
    """Find the most accurate network within the budget, and say how it came about.

    Args:
        folder: where files are written; it exists.

    Raises:
        EdgepruneError: a stage refuses its input or fails.
    """
    check_job(job.workload, job.settings)
    with flushing_denormals():
        context = prepare(job, folder)
        rounds = Rounds(context)
        try:
            ended = _int8_loses_too_much(context) or _pruned(context, rounds)
        except RunInterrupted:
            ended = _interrupted(context, rounds)
        if isinstance(job.progress, Forwarding):
            if job.progress.asked:
                ended = _interrupted(context, rounds)
            job.progress.settle()
        return finalize(context, *ended)


def _interrupted(context: RunContext, rounds: Rounds) -> Ended:
    """The best valid model so far."""
    best = rounds.valid[-1] if rounds.valid else context.start
    best = context.evaluator.remeasured(best, Budget())
    reason = "it was interrupted; this is the last valid model until then"
    return stop.Decision("interrupted", reason), best


def _int8_loses_too_much(context: RunContext) -> Ended | None:
    """The end, before anything is scored, where int8 alone costs too much."""
    whole, found = context.baseline.accuracy, context.start.accuracy
    if not found < context.floor <= whole:
        return None
    metric = context.metric
    reason = (
        f"int8 alone takes the validation {metric.name} from {metric.text(whole)} to "
        f"{metric.text(found)}, below the floor {metric.text(context.floor)}: leave "
        "--precision out"
    )
    return stop.Decision("floor", reason), context.start


def _pruned(context: RunContext, rounds: Rounds) -> Ended:
    """Stages 2 to 4, and growth into what is left of the budget."""
    if context.settings.structure == "pca":
        decision, result = _by_components(context, rounds)
    else:
        decision, result = _by_solver(context, rounds)
    if context.settings.growth != "no" and decision.verdict == "met":
        decision, result = _grown(context, rounds, (decision, result))
    decision = _above_floor(context, decision, result)
    broken = beyond_device(result.figures, context.job.runner.target.limits)
    if broken and decision.verdict == "met":
        decision = replace(decision, verdict="exhausted", reason=broken)
    return decision, result


def _by_solver(context: RunContext, rounds: Rounds) -> Ended:
    """Rounds until the budget is met, the floor reached, or nothing is left to remove.

    Whether the budget is met is said by a measurement of its own; where that one says
    that it is not after all, the rounds go on.
    """
    plain = PlainSpaces(context)
    factors = context.settings.low_rank != "no"
    spaces = FactoredSpaces(context, plain) if factors else plain
    search = MilpSearch(context, plain, spaces)
    until_floor = context.budget == Budget()
    limits = search.fastest() if until_floor else context.limits
    pressure = pressure_of(context.start.costs, limits)
    begin = stop.RoundResult(context.log.steps[-1], pressure, reached=True)
    taken = [(context.start, begin)]
    while True:
        baseline, *history = (result for _, result in taken)
        decision = stop.decide(
            history,
            baseline,
            context.floor,
            until_floor=until_floor,
            metric=context.metric,
        )
        at, goal = decision.resume + 1, decision.goal
        start, result = taken[at]
        if goal is None:
            start = _remeasured(context, start, limits)
            if until_floor:
                return decision, start
            pressure = pressure_of(start.costs, limits)
            if pressure <= 1:
                return stop.met(decision.resume), start
            if decision.verdict != "met":
                return _explained(context, decision, start), start
            taken[at] = start, replace(result, pressure=pressure)
            continue
        if not history and not until_floor and (refusal := search.refusal()):
            return stop.Decision("exhausted", refusal), start
        within = relaxed(limits, goal, context.start.costs)
        pruned = rounds.pruned(start, search, within)
        taken.append(rounds.shrink(start, pruned, limits, goal))


def _explained(
    context: RunContext, decision: stop.Decision, best: ModelSnapshot
) -> stop.Decision:
    """Why it ends; of a network that is within what was asked for, but got slower."""
    pruned = best is not context.start and decision.verdict == "exhausted"
    if not pruned or pressure_of(best.costs, context.budget) > 1:
        return decision
    reason = "what is within it takes longer than the original on the target"
    return replace(decision, reason=reason)


def _by_components(context: RunContext, rounds: Rounds) -> Ended:
    """One analysis, one training: no rounds."""
    proxy = (
        _proxy_spectra(context, rounds) if context.settings.ungrouped_proxy else None
    )
    search, limits, start = PcaSearch(context, proxy), context.limits, context.start
    pruned = rounds.pruned(start, search, limits)
    if not pruned.fits:
        least = context.log.attempts[-1]
        reason = (
            "the budget is out of reach of widths by variance: with "
            f"{least.variance:.4g} of it there are still "
            f"{milliseconds(least.latency_ms)}, {least.macs / 1e6:.2f} M "
            f"MACs, {least.params / 1e6:.3f} M parameters; --structure "
            "solver goes further"
        )
        return stop.Decision("exhausted", reason), start
    snapshot, result = rounds.shrink(start, pruned, limits, 1.0)
    if result.step.valid:
        snapshot = _remeasured(context, snapshot, limits)
        if pressure_of(snapshot.costs, limits) <= 1:
            return stop.Decision("met", "the network fits", resume=0), snapshot
        reason = "after training it takes a little more than before"
        return stop.Decision("exhausted", reason, resume=0), snapshot
    accuracy = result.step.validation_accuracy
    if accuracy >= context.floor:
        return stop.Decision("exhausted", "it became no faster"), start
    metric = context.metric
    reason = (
        f"its validation {metric.told(accuracy)} is below the floor "
        f"{metric.text(context.floor)}; more training, a larger --variance or a larger "
        "--max-drop would help"
    )
    return stop.Decision("floor", reason), start


def _remeasured(
    context: RunContext, snapshot: ModelSnapshot, limits: Budget
) -> ModelSnapshot:
    """A network by the measurement that gives the verdict, which takes a while."""
    progress = context.progress
    progress.start("verdict", 1)
    with context.log.stage("measure"):
        found = context.evaluator.remeasured(snapshot, limits)
    processes = found.paired.timing.processes
    progress.finish(f"{milliseconds(found.costs.latency_ms)}, {processes} processes")
    return found


def _grown(context: RunContext, rounds: Rounds, ended: Ended) -> Ended:
    """Widen what the budget leaves room for, as long as accuracy rises by it."""
    decision, best = ended
    both, limits, count = context.settings.growth == "both", context.limits, 0
    search = GrowthSearch(context, down=both)
    while count < GROWTH_ROUNDS:
        if not both and pressure_of(best.costs, limits) >= planner.CLOSE:
            break
        widened = rounds.pruned(best, search, limits, "growth")
        if not widened.fits or not (widened.plan.copies or widened.plan.kept):
            break
        grown = rounds.grow(best, widened, limits)
        if grown is None:
            break
        best, count = grown, count + 1
    reason = f"all budgets are met, after {count} rounds of growth"
    return replace(decision, reason=reason), best


def _above_floor(
    context: RunContext, decision: stop.Decision, result: ModelSnapshot
) -> stop.Decision:
    """Nothing is met by a model below the floor, the baseline included."""
    if result.accuracy >= context.floor:
        return decision
    whose = "the unpruned network's int8" if context.in_int8 else "the baseline's own"
    metric = context.metric
    reason = (
        f"{whose} validation {metric.told(result.accuracy)} is below the floor "
        f"{metric.text(context.floor)}, and no pruned model is above it"
    )
    return replace(decision, verdict="floor", reason=reason)


def _proxy_spectra(context: RunContext, rounds: Rounds) -> Spectra | None:
    """The spectra of a trained proxy whose convolutions are dense."""
    proxy = ungrouped(context.baseline.model)
    if proxy is None:
        context.log.note("no convolution is grouped: no proxy was trained")
        return None
    with context.log.stage("score"):
        config = rounds.trainings.finetune_config("proxy", 1.0)
        config = replace(config, hints=False)  # it is to find maps of its own
        proxy, training = rounds.trainings.train(proxy, config)
        context.log.training.append(training)
        graph = survey(proxy, context.job.workload.inputs)
        found = spectra(context.scoring(proxy, graph))
        return united(found, graph, context.profile.graph)
