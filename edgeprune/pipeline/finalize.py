"""Finalizes a run: files are verified and quantized, and the test split is read."""

from __future__ import annotations

from dataclasses import replace

from edgeprune import stop
from edgeprune.export import deliver
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.estimated import held_on_estimate
from edgeprune.pipeline.int8 import keep_int8, try_int8
from edgeprune.pipeline.job import ModelSnapshot, Outcome, RunLog
from edgeprune.pipeline.on_device import answers_on_device, note_sustained
from edgeprune.records import (
    AccuracyLoss,
    ModelFigures,
    PairedTiming,
    Parity,
    Quantisation,
    Surgery,
    pressure_of,
    time_pressure,
)
from edgeprune.units import milliseconds

ROOMY = 0.85  # of the time that is allowed: to use less is worth a word
CHANCE_ERRORS = 1.645  # standard errors that one of twenty goes beyond


def finalize(
    context: RunContext, decision: stop.Decision, result: ModelSnapshot
) -> Outcome:
    """Prove the files, try int8, and read the test split, once.

    Raises:
        EdgepruneError: a file is not the function that it was made from.
    """
    progress, data = context.progress, context.data
    tests = deliver.TestSplit(data)
    progress.start("export", 3)
    with context.log.stage("export"):
        parity = deliver.prove(result.exported.in_fp32, data)
        progress.advance("parity")
        baseline = _tested(tests, _beside(context, result))
        unpruned = result.exported.in_fp32.path == context.baseline.exported.path
        plain, int8 = _with_int8(context, result, tests)
        progress.advance("int8")
        on_device = answers_on_device(context, result.exported.in_fp32, int8.path)
        note_sustained(context, result.exported.path)
        final = baseline if unpruned else _tested(tests, plain)
        progress.advance("test split")
    said = f"parity {parity.largest_relative:.1e}; int8: {int8.verdict.reason}"
    progress.finish(said)
    loss = tests.loss(baseline.exported.path, result.exported.path)
    decision = held_on_test(context, decision, baseline.figures, loss)
    decision = held_on_device(decision, on_device)
    decision = held_on_estimate(context, decision, result)
    met = decision.verdict == "met"
    _note(context, result, int8, met=met)
    return Outcome(
        met=met,
        budget=context.budget,
        reason=decision.reason,
        floor=context.floor,
        profile=context.profile,
        baseline=baseline,
        result=final,
        judged=result.costs,
        int8=int8,
        parity=(parity, int8.parity) if int8.parity else (parity,),
        test_loss=loss,
        known=context.known,
        in_int8=context.in_int8,
        log=context.log,
        untimed=decision.verdict == "untimed",
        on_device=on_device,
    )


def _note(
    context: RunContext, result: ModelSnapshot, int8: deliver.Int8, *, met: bool
) -> None:
    """Say what a reader should know of the result."""
    _note_int8(context, int8, met=met, pruned=bool(result.plans))
    _note_surgery(context.log, result.surgery)
    _note_room(context, result, met=met)
    note_denormals(context, result)


def _with_int8(
    context: RunContext, result: ModelSnapshot, tests: deliver.TestSplit
) -> tuple[ModelSnapshot, deliver.Int8]:
    """The fp32 file, and what came of int8."""
    if context.job.runner.estimates:
        return result, deliver.Int8(deliver.NOT_KNOWN)
    if context.in_int8:
        return keep_int8(context, result, tests)
    if reason := context.log.against_int8:
        told = f"below the floor before anything was pruned: {reason}"
        return result, deliver.Int8(Quantisation(kept=False, reason=told))
    if "int8" not in context.job.runner.target.runtime.precisions:
        return result, deliver.Int8(deliver.NOT_ASKED)
    settings = context.settings
    if settings.effort == "quick" and settings.precision == "fp32":
        return result, deliver.Int8(deliver.QUICK)
    return result, try_int8(context, result, tests)


def held_on_device(
    decision: stop.Decision, on_device: tuple[Parity, ...]
) -> stop.Decision:
    """Nothing is met by a file that answers otherwise on the device than here."""
    for parity in on_device:
        if decision.verdict == "met" and not parity.passed:
            reason = (
                f"on the device {parity.file} answers otherwise than here: by "
                f"{parity.largest_relative:.1e} of the largest output, top-1 "
                f"agreement {parity.top1_agreement:.0%} of {parity.samples} samples"
            )
            return replace(decision, verdict="exhausted", reason=reason)
    return decision


def _note_room(context: RunContext, result: ModelSnapshot, *, met: bool) -> None:
    """Say that a result is much faster than it has to be."""
    budget, settings = context.budget, context.settings
    used = time_pressure(result.costs, budget) if budget.limits_time else 1.0
    planned = met and result.plans
    if not planned or settings.structure != "solver" or used >= ROOMY:
        return
    by = "the same command" if context.job.runner.estimates else "--grow"
    context.log.note(
        f"the result takes {used:.0%} of the time that is allowed, for the times by "
        f"which it was planned were too long: {by} uses the rest"
    )


def _note_surgery(log: RunLog, surgery: Surgery) -> None:
    if modules := surgery.bypassed:
        log.note(f"{len(modules)} modules are gone whole: {', '.join(modules)}")
    if layers := surgery.factored:
        log.note(f"{len(layers)} layers are factored: {', '.join(layers)}")


def held_on_test(
    context: RunContext,
    decision: stop.Decision,
    baseline: ModelFigures,
    loss: AccuracyLoss,
) -> stop.Decision:
    """Nothing is met by a model that the test split shows to be below the floor.

    By more than chance explains: validation and test samples differ a little, and what
    the original knows of the validation samples makes them say too little.
    """
    before = baseline.test_accuracy or 0.0
    metric = context.data.task.metric
    floor = context.settings.floor(before, metric)
    found = before - loss.points
    if not context.settings.has_floor:
        error = loss.error or 0.0  # of the difference to the original
    else:
        error = metric.chance(found, loss.samples)
    if decision.verdict != "met" or floor - found <= CHANCE_ERRORS * error:
        return decision
    known = (
        "; the weights may know the validation samples, which were cut from the "
        "training data: give a validation split of its own"
        if context.known
        else ""
    )
    reason = (
        f"on {loss.samples} test samples its {metric.told(found)} "
        f"({loss.text(metric)}) is below the floor {metric.text(floor)} that is "
        f"allowed there{known}"
    )
    return replace(decision, verdict="floor", reason=reason)


def _note_int8(
    context: RunContext, int8: deliver.Int8, *, met: bool, pruned: bool
) -> None:
    if not context.in_int8 and int8.figures:
        note_int8(context, int8.figures, met=met, pruned=pruned)
    if (gain := int8.verdict.speedup) and int8.verdict.kept and gain <= 1:
        context.log.note("the int8 file counts, but fp32 is as fast by now")


def note_int8(
    context: RunContext, figures: ModelFigures, *, met: bool, pruned: bool
) -> None:
    """Say that the int8 file could have been the deployed one."""
    budget = context.budget
    if budget.memory_bytes is not None:  # which nobody can count in int8
        return
    latency = milliseconds(figures.latency_ms)
    if not met and pressure_of(figures, budget) <= 1:
        context.log.note(f"the int8 file is within the budget: {latency}")
    if pruned and budget.limits_time and context.settings.precision == "fp32":
        context.log.note(
            f"the int8 file takes {latency}: with --precision auto the budget is about "
            "that file, and less is pruned for it"
        )


def note_denormals(context: RunContext, result: ModelSnapshot) -> None:
    """Say what was won by setting denormal weights to 0."""
    item, evaluator = result.exported.in_fp32, context.evaluator
    if not item.denormals:
        return
    path = item.path.with_name(f"{item.path.stem}.denormals.onnx")
    evaluator.benchmark.write(item.model, path, flush=False)
    timed = evaluator.time_together([replace(item, path=path), item])
    path.unlink()
    before, after = (
        milliseconds(paired.ratio * evaluator.reference.ms) for paired in timed
    )
    context.log.note(
        f"{item.denormals} denormal weights were set to 0: {before} -> {after}"
    )


def _beside(context: RunContext, result: ModelSnapshot) -> ModelSnapshot:
    """The baseline by the measurement that the result was judged by."""
    timing, baseline = result.paired.baseline, context.baseline
    paired = PairedTiming(timing, timing)
    reference_ms = context.evaluator.reference.ms
    figures = baseline.figures.measured(paired, reference_ms)
    return replace(baseline, paired=paired, figures=figures)


def _tested(tests: deliver.TestSplit, snapshot: ModelSnapshot) -> ModelSnapshot:
    accuracy = tests.accuracy(snapshot.exported.path)
    figures = replace(snapshot.figures, test_accuracy=accuracy)
    return replace(snapshot, figures=figures)
