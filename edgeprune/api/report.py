"""From what a run returned to its report."""

from __future__ import annotations

from dataclasses import replace

from edgeprune.api.origin import facts_of, origin_of
from edgeprune.api.run_folder import INT8_FILE, MODEL_FILE
from edgeprune.pipeline import Job, Outcome
from edgeprune.pipeline.checks import FEW
from edgeprune.records import REPORT_SCHEMA, Parity, RunReport
from edgeprune.settings import BUDGET_NAMES, CompressSettings, flag
from edgeprune.units import milliseconds


def report_of(outcome: Outcome, job: Job, seconds: float) -> RunReport:
    """Put together the content of `report.json`."""
    log, settings = outcome.log, job.settings
    result, int8 = outcome.result.figures, outcome.int8.figures
    return RunReport(
        schema_version=REPORT_SCHEMA,
        status="met" if outcome.met else "unmet",
        sentence=_sentence(outcome, job),
        **origin_of(job.workload, settings, seconds),
        machine=result.timing.machine,
        target=settings.target,
        budget=outcome.budget,
        accuracy_floor=outcome.floor,
        data=facts_of(job.data),
        baseline=outcome.baseline.figures,
        result=replace(result, file=MODEL_FILE),
        int8=None if int8 is None else replace(int8, file=INT8_FILE),
        quantisation=outcome.int8.verdict,
        parity=_named(outcome.parity),
        latency_model=log.latency_model,
        scores=log.scores,
        sensitivity=log.sensitivity,
        spectra=log.spectra,
        attempts=tuple(log.attempts),
        steps=tuple(log.steps),
        reconstructions=tuple(log.reconstructions),
        training=tuple(log.training),
        refused=outcome.profile.graph.refusals,
        plans=outcome.result.plans,
        notes=tuple(log.notes),
        stage_seconds=log.stage_seconds,
        test_loss=outcome.test_loss,
        on_device=_named(outcome.on_device),
        sustained=log.sustained,
        deployed="int8" if outcome.in_int8 else "fp32",
        run_id=job.run_id,
        metric=job.data.task.metric,
    )


def _named(found: tuple[Parity, ...]) -> tuple[Parity, ...]:
    """By the names that the files have in the run's folder."""
    names = (MODEL_FILE, INT8_FILE)
    return tuple(
        replace(item, file=name) for item, name in zip(found, names, strict=False)
    )


def _asked(outcome: Outcome, settings: CompressSettings) -> str:
    """The budgets as they were given; of a share, what was reached.

    Time that was given as a share is compared as a share, milliseconds through what
    the original takes as a rule.
    """
    before, after = outcome.baseline.costs, outcome.judged
    reached = {
        "budget_ms": f"{after.latency_ratio:.1%} of the original's time",
        "max_macs": _left(after.macs, before.macs),
        "max_params": _left(after.params, before.params),
        "max_size_mb": _left(after.size_bytes, before.size_bytes, " bytes"),
        "max_memory_mb": _left(after.memory_bytes, before.memory_bytes, " bytes"),
    }
    parts: list[str] = []
    for name in BUDGET_NAMES:
        value = getattr(settings, name)
        if isinstance(value, str):
            parts.append(f"{flag(name)} {value} ({reached[name]})")
        elif value is not None:
            parts.append(f"{flag(name)} {value:,}")
    return ", ".join(parts)


def _left(after: float, before: float, unit: str = "") -> str:
    """What is left of something, and that as a share of what there was, if any."""
    share = f"{after / before:.1%}, " if before else ""
    return f"{share}{after:,.0f}{unit}"


def _whose(outcome: Outcome) -> str:
    """Say what is delivered where nothing had to be pruned."""
    if outcome.profile.benchmark.shortcuts_as_conv:
        return "the original with its shortcuts as convolutions"
    return "the original already"


def _doubt(outcome: Outcome, job: Job) -> str:
    """Say so where the validation split cannot judge the floor."""
    count = job.data.sizes[1]
    if count < FEW:
        return f", which {count} validation samples cannot judge"
    return " (of samples that the weights may know)" if outcome.known else ""


def _sentence(outcome: Outcome, job: Job) -> str:
    """Say in one sentence what was reached."""
    settings, metric = job.settings, job.data.task.metric
    in_int8 = outcome.int8.figures if outcome.in_int8 else None
    before, after = outcome.baseline.figures, in_int8 or outcome.result.figures
    where = " in int8" if in_int8 else ""
    if after.is_estimate:
        where += ", estimated"
    reached = (
        f"{milliseconds(after.latency_ms)}{where} "
        f"(baseline {milliseconds(before.latency_ms)}), test "
        f"{metric.told(after.test_accuracy or 0)} "
        f"(baseline {metric.text(before.test_accuracy or 0)}, "
        f"{outcome.test_loss.text(metric)}), validation "
        f"{metric.text(after.validation_accuracy or 0)} with the floor at "
        f"{metric.text(outcome.floor)}{_doubt(outcome, job)}"
    )
    asked = _asked(outcome, settings)
    if not asked:
        asked = (
            f"--structure {settings.structure}"
            if not settings.until_floor
            else f"pruned until the floor {metric.text(outcome.floor)}"
        )
    untouched = not outcome.result.plans
    if outcome.met:
        whose = "the original's int8 file" if in_int8 else _whose(outcome)
        how = f" by {whose}, nothing was pruned" if untouched else ""
        by = "Met by an estimate" if after.is_estimate else "Met"
        return f"{by}{how}: {asked}; {reached}."
    best = "The original, unpruned" if untouched else "The best valid model"
    return f"Not met: {asked}: {outcome.reason}. {best}: {reached}."
