"""Stage 1: what the network costs, how accurate it is, and what the limits are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeprune.export import deliver
from edgeprune.measure.benchmark import Benchmark
from edgeprune.pipeline.checks import (
    check_answers,
    check_formats,
    knows_validation,
    note_doubts,
    note_floor,
    note_scale,
)
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.description import description
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.pipeline.job import Job, ModelSnapshot, RunLog
from edgeprune.pipeline.limits import (
    beyond_device,
    budget_of,
    never_slower,
    within_device,
)
from edgeprune.pipeline.precision import start_of
from edgeprune.pipeline.steps import unpruned_step
from edgeprune.profile.network import Profile, profile_network
from edgeprune.records import PairedTiming

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
    check_formats(job)
    job.region.check(job.workload.model)
    log = RunLog()
    with log.stage("profile"):
        outputs = check_answers(job.workload, trains=job.settings.train)
        benchmark = _benchmark(job, folder)
        model = job.workload.model
        profile = profile_network(model, benchmark, job.progress, job.region)
        evaluator = Evaluator.of(profile, profile.benchmark, job.data, job.device)
        baseline = _baseline(profile, evaluator)
        log.steps.append(unpruned_step("baseline", baseline))
        note_doubts(job, log, baseline, outputs)
        note_scale(job, log)
        floor = job.settings.floor(baseline.accuracy, job.data.task.metric)
        note_floor(job, log, baseline.accuracy, floor)
        known = knows_validation(job, log, baseline)
        log.note(*profile.notes)
        if job.settings.effort == "quick":
            log.note(QUICK)
        device = job.runner.target.limits
        if broken := beyond_device(baseline.figures, device):
            log.note(f"the original is beyond the target's limits: {broken}")
        budget = budget_of(job.settings, baseline.costs)
        budget = within_device(budget, device, baseline.costs)
        evaluator, start = start_of(job, profile, (evaluator, baseline), budget, log)
        if start is not baseline:
            in_int8 = start.exported.precision == "int8"
            name = "int8" if in_int8 else "convolved"
            log.steps.append(unpruned_step(name, start))
    return RunContext(
        job=job,
        log=log,
        profile=profile,
        evaluator=evaluator,
        baseline=baseline,
        start=start,
        budget=budget,
        limits=never_slower(budget),
        floor=floor,
        known=known,
    )


def _benchmark(job: Job, folder: Path) -> Benchmark:
    """What writes and times the run's files."""
    inputs, open_batch = job.workload.inputs, job.settings.dynamic_batch
    return Benchmark(
        job.runner,
        inputs,
        folder,
        open_batch,
        facts=description(job),
        weigh=job.data.task.weights,
    )


def _baseline(profile: Profile, evaluator: Evaluator) -> ModelSnapshot:
    timing = profile.figures.timing
    paired, path = PairedTiming(timing, timing), profile.exported.path
    accuracy = deliver.validation_accuracy(path, evaluator.data)
    costs = evaluator.costs(profile.exported, paired)
    figures = replace(profile.figures, validation_accuracy=accuracy)
    return ModelSnapshot(profile.exported, figures, paired, costs)
