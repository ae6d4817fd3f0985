"""Stage 1: what the network costs, how accurate it is, and what the limits are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeprune.errors import ExportError
from edgeprune.export import deliver
from edgeprune.measure.benchmark import Benchmark
from edgeprune.pipeline.checks import (
    check_answers,
    knows_validation,
    note_doubts,
    note_scale,
)
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.pipeline.job import Job, ModelSnapshot, RunLog
from edgeprune.pipeline.limits import (
    beyond_device,
    budget_of,
    never_slower,
    within_device,
)
from edgeprune.pipeline.steps import unpruned_step
from edgeprune.profile.network import Profile, profile_network
from edgeprune.records import PairedTiming
from edgeprune.units import milliseconds

QUICK = (
    "a quick answer (--effort quick): plans were compared by the sum of their parts "
    "only, each group measured at one width, layers fitted on fewer samples and only "
    "where accuracy was missing, and nothing was trained that was above the floor; "
    "--effort normal looks further"
)


def prepare(job: Job, folder: Path) -> RunContext:
    """Profile the network and settle all that the rounds go by.

    Args:
        folder: where files are written; it exists.

    Raises:
        EdgepruneError: the network, its data or the target is refused.
    """
    log = RunLog()
    with log.stage("profile"):
        outputs = check_answers(job.workload, trains=job.settings.train)
        benchmark = Benchmark(
            job.runner, job.workload.inputs, folder, job.settings.dynamic_batch
        )
        profile = profile_network(job.workload.model, benchmark, job.progress)
        evaluator = Evaluator.of(profile, profile.benchmark, job.data, job.device)
        baseline = _baseline(profile, evaluator)
        log.steps.append(unpruned_step("baseline", baseline))
        note_doubts(job, log, baseline, outputs)
        note_scale(job, log)
        known = knows_validation(job, log, baseline)
        log.note(*profile.notes)
        if job.settings.effort == "quick":
            log.note(QUICK)
        evaluator, start = _start(job, profile, evaluator, baseline)
        if start is not baseline:
            name = "int8" if job.settings.precision == "int8" else "convolved"
            log.steps.append(unpruned_step(name, start))
    device = job.runner.target.limits
    if broken := beyond_device(baseline.figures, device):
        log.note(f"the original is beyond the target's limits: {broken}")
    budget = budget_of(job.settings, baseline.costs)
    budget = within_device(budget, device, baseline.costs)
    return RunContext(
        job=job,
        log=log,
        profile=profile,
        evaluator=evaluator,
        baseline=baseline,
        start=start,
        budget=budget,
        limits=never_slower(budget),
        floor=job.settings.floor(baseline.accuracy),
        known=known,
    )


def _baseline(profile: Profile, evaluator: Evaluator) -> ModelSnapshot:
    timing = profile.figures.timing
    paired, path = PairedTiming(timing, timing), profile.exported.path
    accuracy = deliver.validation_accuracy(path, evaluator.data)
    costs = evaluator.costs(profile.exported, paired)
    figures = replace(profile.figures, validation_accuracy=accuracy)
    return ModelSnapshot(profile.exported, figures, paired, costs)


def _start(
    job: Job, profile: Profile, evaluator: Evaluator, baseline: ModelSnapshot
) -> tuple[Evaluator, ModelSnapshot]:
    """Choose the start of the rounds: the baseline, or a faster file of it.

    Raises:
        ExportError: int8 is refused, or is no faster.
    """
    if job.settings.precision == "int8":
        return _in_int8(job, profile, evaluator)
    if not profile.benchmark.shortcuts_as_conv:
        return evaluator, baseline
    accuracy = baseline.figures.validation_accuracy  # of the same function
    return evaluator, evaluator.snapshot(
        profile.start, profile.paired, accuracy=accuracy
    )


def _in_int8(
    job: Job, profile: Profile, evaluator: Evaluator
) -> tuple[Evaluator, ModelSnapshot]:
    """Quantize the unpruned network, and every file after it.

    Raises:
        ExportError: int8 is refused, or is no faster.
    """
    calibration = job.data.calibration
    exported, mixed = profile.benchmark.in_mixed(profile.start, calibration)
    paired = evaluator.time(exported)
    if paired.ratio >= 1:
        message = (
            f"int8 is no faster here: {milliseconds(paired.timing.median_ms)}, and "
            f"{milliseconds(paired.baseline.median_ms)} in fp32: leave --precision out."
        )
        raise ExportError(message)
    benchmark = replace(
        profile.benchmark, calibration=calibration, in_float=mixed.in_float
    )
    evaluator = replace(evaluator, benchmark=benchmark, start_ratio=paired.ratio)
    return evaluator, evaluator.snapshot(exported, paired)
