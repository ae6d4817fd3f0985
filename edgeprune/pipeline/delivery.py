"""What a run ends with: the files, proved and quantised, and the test split read."""

from __future__ import annotations

from dataclasses import replace

from edgeprune import stop
from edgeprune.export import deliver
from edgeprune.pipeline.ground import Ground
from edgeprune.pipeline.job import Outcome, State
from edgeprune.records import Timing, TimingSummary, pressure_of
from edgeprune.units import milliseconds


def delivered(
    ground: Ground, decision: stop.Decision, result: State, floor: float
) -> Outcome:
    """Prove the files, try int8, and read the test split, once.

    Raises:
        EdgepruneError: a file is not the function that it was made from.
    """
    job, journal, data = ground.job, ground.journal, ground.job.workload.data
    job.progress.start("export", 3)
    with journal.stage("export"):
        parity = deliver.prove(result.exported, data)
        job.progress.advance("parity")
        int8 = deliver.Int8(deliver.NOT_ASKED)
        if "int8" in job.precisions:
            int8 = deliver.try_int8(result.exported, ground.bench, data, floor)
        job.progress.advance("int8")
        baseline = _tested(ground, _retimed(ground.baseline, result.beside))
        untouched = result is ground.baseline
        final = baseline if untouched else _tested(ground, result)
        job.progress.advance("test split")
    job.progress.finish(
        f"parity {parity.largest_relative:.1e}; int8: {int8.verdict.reason}"
    )
    met = decision.verdict == "met"
    if not met and int8.figures and pressure_of(int8.figures, ground.budget) <= 1:
        found = milliseconds(int8.figures.latency_ms)
        journal.note(f"the int8 file is within the budget: {found}")
    if layers := result.surgery.factored:
        journal.note(f"{len(layers)} layers are factored: {', '.join(layers)}")
    _note_denormals(ground, result)
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


def _note_denormals(ground: Ground, result: State) -> None:
    """What was won by setting denormal weights to 0."""
    if count := result.exported.denormals:
        before, after = deliver.with_denormals(result.exported, ground.bench)
        ground.journal.note(
            f"{count} denormal weights were set to 0: "
            f"{milliseconds(before.median_ms)} -> {milliseconds(after.median_ms)}"
        )


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
