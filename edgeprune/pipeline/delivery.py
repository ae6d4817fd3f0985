"""What a run ends with: the files, proved and quantised, and the test split read."""

from __future__ import annotations

from dataclasses import replace

from edgeprune import stop
from edgeprune.export import deliver
from edgeprune.pipeline.ground import Ground
from edgeprune.pipeline.job import Outcome, State
from edgeprune.records import ModelFigures, Timing, TimingSummary, pressure_of
from edgeprune.units import milliseconds


def delivered(
    ground: Ground, decision: stop.Decision, result: State, floor: float
) -> Outcome:
    """Prove the files, try int8, and read the test split, once.

    Raises:
        EdgepruneError: a file is not the function that it was made from.
    """
    job, journal, data = ground.job, ground.journal, ground.job.workload.data
    counts = job.precision == "int8"
    job.progress.start("export", 3)
    with journal.stage("export"):
        parity = deliver.prove(result.exported.in_fp32, data)
        job.progress.advance("parity")
        baseline = _tested(ground, _retimed(ground.baseline, result.beside))
        as_it_was = result.exported.in_fp32.path == ground.baseline.exported.path
        plain, int8 = result, deliver.Int8(deliver.NOT_ASKED)
        if counts:
            timing, int8 = deliver.keep_int8(
                result.exported, result.figures, ground.bench, data
            )
            plain = baseline if as_it_was else _in_fp32(ground, result, timing)
        elif "int8" in job.precisions:
            int8 = deliver.try_int8(result.exported, ground.bench, data, floor)
        job.progress.advance("int8")
        final = baseline if as_it_was else _tested(ground, plain)
        job.progress.advance("test split")
    job.progress.finish(
        f"parity {parity.largest_relative:.1e}; int8: {int8.verdict.reason}"
    )
    met = decision.verdict == "met"
    if met:
        note_drift(ground, result)
    if not counts and int8.figures:
        note_int8(ground, int8.figures, met=met, pruned=bool(result.plans))
    if (gain := int8.verdict.speedup) and int8.verdict.kept and gain <= 1:
        journal.note("the int8 file counts, but fp32 is as fast by now")
    if layers := result.surgery.factored:
        journal.note(f"{len(layers)} layers are factored: {', '.join(layers)}")
    note_denormals(ground, result)
    return Outcome(
        met=met,
        budget=ground.budget,
        reason=decision.reason,
        floor=floor,
        profile=ground.profile,
        baseline=baseline,
        result=final,
        int8=int8,
        parity=(parity, int8.parity) if int8.parity else (parity,),
        journal=journal,
    )


def note_drift(ground: Ground, result: State) -> None:
    """Why a budget is met by a time above it: times are judged beside the original's.

    A machine that is a little slower for a while makes both slower.
    """
    limit_ms, found_ms = ground.budget.latency_ms, result.figures.latency_ms
    if limit_ms is None or found_ms <= limit_ms:
        return
    trials, base = ground.trials, result.beside
    judged_ms = trials.as_usual(result.figures.timing, base)
    ground.journal.note(
        "the machine was slower than usual: the original took "
        f"{milliseconds(base.median_ms)} beside the result's "
        f"{milliseconds(found_ms)}, and takes {milliseconds(trials.usual_ms)} as a "
        f"rule; with it the result takes {milliseconds(judged_ms)}"
    )


def note_int8(
    ground: Ground, figures: ModelFigures, *, met: bool, pruned: bool
) -> None:
    """That the int8 file could have been what counts."""
    if ground.budget.memory_bytes is not None:  # which nobody can count in int8
        return
    found = milliseconds(figures.latency_ms)
    if not met and pressure_of(figures, ground.budget) <= 1:
        ground.journal.note(f"the int8 file is within the budget: {found}")
    if pruned and ground.budget.latency_ms is not None:
        ground.journal.note(
            f"the int8 file takes {found}: with --precision int8 the budget is about "
            "that file, and less is pruned for it"
        )


def note_denormals(ground: Ground, result: State) -> None:
    """What was won by setting denormal weights to 0."""
    item = result.exported.in_fp32
    if count := item.denormals:
        before, after = deliver.with_denormals(item, ground.bench)
        ground.journal.note(
            f"{count} denormal weights were set to 0: "
            f"{milliseconds(before.median_ms)} -> {milliseconds(after.median_ms)}"
        )


def _in_fp32(ground: Ground, state: State, timing: Timing) -> State:
    """The same network's fp32 file, where the int8 one counts."""
    item = state.exported.in_fp32
    found = deliver.validation_accuracy(item.path, ground.job.workload.data)
    figures = replace(ground.bench.figures(item, timing), validation_accuracy=found)
    return replace(state, exported=item, figures=figures)


def _tested(ground: Ground, state: State) -> State:
    data = ground.job.workload.data
    found = deliver.tested_accuracy(state.exported.path, data)
    return replace(state, figures=replace(state.figures, test_accuracy=found))


def _retimed(state: State, timing: Timing) -> State:
    """The same network by another measurement of it."""
    summary = TimingSummary.of(timing)
    return replace(
        state, figures=replace(state.figures, timing=timing, summary=summary)
    )
