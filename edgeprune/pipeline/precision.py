"""Which file of the network do budgets count: fp32, a faster form of it, or int8?"""

from __future__ import annotations

from dataclasses import replace

from edgeprune.errors import ExportError
from edgeprune.pipeline.evaluation import Evaluator
from edgeprune.pipeline.job import Job, ModelSnapshot, RunLog
from edgeprune.profile.network import Profile
from edgeprune.records import Budget, pressure_of
from edgeprune.units import milliseconds

FASTER = 0.95  # of fp32's time: less is not worth another kind of file
MOST = 0.5  # of what may be lost as a rule: a point of accuracy
Start = tuple[Evaluator, ModelSnapshot]


def start_of(
    job: Job,
    profile: Profile,
    baseline: Start,
    budget: Budget,
    log: RunLog,
) -> Start:
    """Choose the start of the rounds: the baseline, or a faster file of it.

    Raises:
        ExportError: int8 was asked for, and is refused, or is no faster.
    """
    evaluator, whole = baseline
    if job.settings.precision == "int8":
        return _in_int8(job, profile, evaluator, most=1.0)
    if job.settings.precision == "auto":
        chosen = _chosen(job, profile, baseline, budget, log)
        if chosen is not None:
            return chosen
    if not profile.benchmark.shortcuts_as_conv:
        return baseline
    accuracy = whole.figures.validation_accuracy  # of the same function
    return evaluator, evaluator.snapshot(
        profile.start, profile.paired, accuracy=accuracy
    )


def _chosen(
    job: Job, profile: Profile, baseline: Start, budget: Budget, log: RunLog
) -> Start | None:
    """int8, where it is faster on the target and as good as fp32.

    None where fp32 is better: it is within the budget as it is, or int8 wins nothing.
    """
    evaluator, whole = baseline
    runner, metric = job.runner, job.data.task.metric
    if runner.estimates or "int8" not in runner.target.runtime.precisions:
        return None
    if budget.memory_bytes is not None:  # which nobody can count in int8
        log.note("precision: fp32, since what int8 keeps alive cannot be counted")
        return None
    if pressure_of(whole.costs, budget) <= 1:
        log.note("precision: fp32, which is within the budget as it is")
        return None
    try:
        found, start = _in_int8(job, profile, evaluator, most=FASTER)
    except ExportError as error:
        log.note(f"precision: fp32: {error}")
        return None
    asked = job.settings.floor(whole.accuracy, metric)
    floor = max(
        asked,
        whole.accuracy - MOST * metric.usual_drop / metric.points,
    )
    if start.accuracy < floor:
        told = (
            f"int8 takes the validation {metric.name} from "
            f"{metric.text(whole.accuracy)} to {metric.text(start.accuracy)}"
        )
        log.note(f"precision: fp32: {told}")
        if start.accuracy < asked:
            log.against_int8 = told
        return None
    log.note(
        f"precision: int8, which takes {start.costs.latency_ratio:.0%} of the "
        f"original's time at a validation {metric.name} of "
        f"{metric.text(start.accuracy)} ({metric.text(whole.accuracy)} in fp32)"
    )
    return found, start


def _in_int8(job: Job, profile: Profile, evaluator: Evaluator, *, most: float) -> Start:
    """Quantize the unpruned network, and every file after it.

    Args:
        most: of the baseline's time.

    Raises:
        ExportError: int8 is refused, or is no faster.
    """
    calibration = job.data.calibration
    exported, mixed = profile.benchmark.in_mixed(profile.start, calibration)
    paired = evaluator.time(exported)
    if paired.ratio >= most:
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
