"""From settings to a finished run folder: for the command line and for Python."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune import targets
from edgeprune.config import Settings, check_sparsity, check_structure, parse_settings
from edgeprune.data import Splits
from edgeprune.files import check_folder
from edgeprune.loading import load_workload, workload_of_objects
from edgeprune.measure.runner import runner_for
from edgeprune.pipeline import (
    Job,
    Outcome,
    Run,
    SparseJob,
    SparseOutcome,
    Sparsification,
    check_job,
)
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    REPORT_SCHEMA,
    SPARSITY_SCHEMA,
    DataFacts,
    RunReport,
    SparsityReport,
)
from edgeprune.run_files import (
    INT8_FILE,
    MODEL_FILE,
    run_folder,
    unfinished,
    versions,
    write_run,
    write_sparse_run,
)
from edgeprune.workload import Workload

BUDGETS = ("budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb")


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        model: the compressed module, at evaluation mode.
        folder: where its files are.
    """

    report: RunReport
    model: nn.Module
    folder: Path


@dataclass(frozen=True)
class Sparsified:
    """A finished run that made zeros.

    Attributes:
        model: the module with the zeros, or the smaller one, at evaluation mode.
        folder: where its files are.
    """

    report: SparsityReport
    model: nn.Module
    folder: Path


def compress(
    model: nn.Module | str,
    data: Any,
    *,
    budget: float | Mapping[str, object] | None = None,
    target: str = "host",
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Finished:
    """Compress a model until it runs within the budget on the target.

    Args:
        model: a module, or a description as for `--model`.
        data: a description as for `--data`, or (train, validation, test) loaders or
            data sets of (input, class).
        budget: milliseconds, or any of budget_ms, max_macs, max_params, max_size_mb,
            max_memory_mb; none is needed with structure="pca".
        out: folder of the run's files; a new one under runs/ by default.
        settings: any other setting of the command line, with underscores.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    timed = isinstance(budget, int | float)
    limits = {"budget_ms": budget} if timed else dict(budget or {})
    given = {**settings, **limits, "target": target, "out": out}
    parsed = _parsed(model, data, given, "compress()")
    shown = progress or SILENT
    if isinstance(model, str) and isinstance(data, str):
        return compress_settings(parsed, shown)
    check_structure(parsed)
    workload = workload_of_objects(model, data, parsed)
    return _run(workload, parsed, shown)


def compress_settings(settings: Settings, progress: Progress) -> Finished:
    """The main job as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    check_structure(settings)
    if settings.out is not None:
        check_folder(settings.out)
    targets.load(settings.target)
    workload = load_workload(settings, progress)
    return _run(workload, settings, progress)


def sparsify(
    model: nn.Module | str,
    data: Any,
    *,
    method: str = "magnitude",
    sparsity: float,
    progress: Progress | None = None,
    **settings: Any,
) -> Sparsified:
    """Train until a share of the weights or channels is zero.

    Args:
        model: as for `compress`.
        data: as for `compress`.
        method: magnitude, l1-mask, hybrid, slimming, prox-sg or bayesian.
        sparsity: the share, 0..1.
        settings: any other setting of the command line, with underscores.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    given = {**settings, "method": method, "sparsity": sparsity}
    parsed = _parsed(model, data, given, "sparsify()")
    shown = progress or SILENT
    if isinstance(model, str) and isinstance(data, str):
        return sparsify_settings(parsed, shown)
    check_sparsity(parsed)
    return _sparsify(workload_of_objects(model, data, parsed), parsed, shown)


def sparsify_settings(settings: Settings, progress: Progress) -> Sparsified:
    """The same as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    check_sparsity(settings)
    if settings.out is not None:
        check_folder(settings.out)
    targets.load(settings.target)
    return _sparsify(load_workload(settings, progress), settings, progress)


def _parsed(model: Any, data: Any, given: dict[str, Any], origin: str) -> Settings:
    """Settings of a Python caller."""
    given = {key: value for key, value in given.items() if value is not None}
    given |= {"model": model} if isinstance(model, str) else {}
    given |= {"data": data} if isinstance(data, str) else {}
    return parse_settings(given, set(given), Path(origin))


def _run(workload: Workload, settings: Settings, progress: Progress) -> Finished:
    """Run the pipeline in a folder aside and move the files where they belong."""
    began = time.perf_counter()
    folder = run_folder(settings.out, workload.name)
    check_folder(folder)
    target = targets.load(settings.target)
    job = Job(
        workload=workload,
        runner=runner_for(target, seed=settings.seed, batch=len(workload.inputs[0])),
        budget=settings.budget,
        floor=settings.floor,
        criterion=settings.criterion,
        structure=settings.structure,
        variance=settings.variance,
        from_scratch=settings.from_scratch,
        ungrouped=settings.ungrouped_proxy,
        growth=settings.growth,
        low_rank=settings.low_rank,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        dynamic_batch=settings.dynamic_batch,
        precisions=target.runtime.precisions,
        seed=settings.seed,
        progress=progress,
    )
    check_job(job)
    with tempfile.TemporaryDirectory() as held:
        outcome = Run(job, Path(held)).go()
        report = _report(outcome, job, settings, time.perf_counter() - began)
        write_run(outcome, job, report, folder, asked=settings)
    return Finished(report, outcome.result.exported.model.eval(), folder)


def _sparsify(workload: Workload, settings: Settings, progress: Progress) -> Sparsified:
    """The run, its files put aside first; trainings are kept until it is finished."""
    began = time.perf_counter()
    assert settings.sparsity is not None  # checked
    folder = run_folder(settings.out, f"sparsify {workload.name}")
    check_folder(folder)
    target = targets.load(settings.target)
    job = SparseJob(
        workload=workload,
        runner=runner_for(target, seed=settings.seed, batch=len(workload.inputs[0])),
        method=settings.method,
        sparsity=settings.sparsity,
        floor=settings.floor,
        rounds=settings.rounds,
        gradual=settings.gradual,
        penalty=settings.penalty,
        regulariser=settings.regulariser,
        optimizer=settings.optimizer,
        average=settings.average,
        materialise=settings.materialise,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        dynamic_batch=settings.dynamic_batch,
        seed=settings.seed,
        state=unfinished(workload, settings),
        progress=progress,
    )
    with tempfile.TemporaryDirectory() as held:
        outcome = Sparsification(job, Path(held)).go()
        report = _sparsity_report(outcome, job, settings, time.perf_counter() - began)
        write_sparse_run(outcome, workload, report, folder, asked=settings)
    shutil.rmtree(job.state or held, ignore_errors=True)
    return Sparsified(report, outcome.files[-1].model.eval(), folder)


def _sparsity_report(
    outcome: SparseOutcome, job: SparseJob, settings: Settings, seconds: float
) -> SparsityReport:
    splits = job.workload.data
    return SparsityReport(
        schema_version=SPARSITY_SCHEMA,
        status="met" if outcome.met else "unmet",
        sentence=_sparsity_sentence(outcome, job),
        **_origin(job.workload, settings, seconds),
        machine=outcome.timings[0].machine,
        model=job.workload.name,
        method=job.method,
        wanted=job.sparsity,
        accuracy_floor=outcome.floor,
        data=_facts(splits),
        steps=outcome.steps,
        training=outcome.training,
        timings=outcome.timings,
        penalty=outcome.penalty,
        removed=outcome.removed,
        difference=outcome.difference,
        parity=outcome.parity,
        notes=outcome.notes,
    )


def _sparsity_sentence(outcome: SparseOutcome, job: SparseJob) -> str:
    """What was reached, for a person."""
    before, after = outcome.steps[0], outcome.steps[-1]
    zeros = after.sparsity
    reached = (
        f"{zeros.overall:.1%} of the weights are zero; test accuracy "
        f"{after.test_accuracy or 0:.2%} (baseline {before.test_accuracy or 0:.2%}), "
        f"validation {after.validation_accuracy:.2%} with the floor at "
        f"{outcome.floor:.2%}; compressed {zeros.gzip_bytes / 1e6:.2f} MB (baseline "
        f"{before.sparsity.gzip_bytes / 1e6:.2f} MB)"
    )
    asked = f"--method {job.method} --sparsity {job.sparsity:g}"
    if outcome.met:
        return f"Met: {asked}; {reached}."
    return f"Not met: {asked}: {outcome.reason}. The best valid model: {reached}."


def _origin(workload: Workload, settings: Settings, seconds: float) -> dict[str, Any]:
    """How a run came about."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "versions": versions(),
        "settings": {
            **json.loads(settings.model_dump_json()),
            "model": workload.name,
            "data": workload.data.name,
        },
    }


def _facts(splits: Splits) -> DataFacts:
    return DataFacts(
        splits.name, *splits.sizes, splits.classes, splits.sample_shape, splits.note
    )


def _report(
    outcome: Outcome, job: Job, settings: Settings, seconds: float
) -> RunReport:
    splits, journal = job.workload.data, outcome.journal
    baseline, result = outcome.baseline.figures, outcome.result.figures
    int8 = outcome.int8.figures
    return RunReport(
        schema_version=REPORT_SCHEMA,
        status="met" if outcome.met else "unmet",
        sentence=_sentence(outcome, settings),
        **_origin(job.workload, settings, seconds),
        machine=result.timing.machine,
        target=settings.target,
        budget=settings.budget,
        accuracy_floor=outcome.floor,
        data=_facts(splits),
        baseline=baseline,
        result=replace(result, file=MODEL_FILE),
        int8=None if int8 is None else replace(int8, file=INT8_FILE),
        quantisation=outcome.int8.verdict,
        parity=tuple(
            replace(parity, file=name)
            for parity, name in zip(
                outcome.parity, (MODEL_FILE, INT8_FILE), strict=False
            )
        ),
        latency_model=journal.latency_model,
        scores=journal.scores,
        sensitivity=journal.sensitivity,
        spectra=journal.spectra,
        attempts=tuple(journal.attempts),
        steps=tuple(journal.steps),
        training=tuple(journal.training),
        refused=outcome.profile.graph.refusals,
        plans=outcome.result.plans,
        notes=tuple(journal.notes),
        stage_seconds=journal.stage_seconds,
    )


def _sentence(outcome: Outcome, settings: Settings) -> str:
    """What was reached, for a person."""
    before, after = outcome.baseline.figures, outcome.result.figures
    reached = (
        f"{after.latency_ms:.2f} ms (baseline {before.latency_ms:.2f} ms), "
        f"test accuracy "
        f"{after.test_accuracy or 0:.2%} (baseline {before.test_accuracy or 0:.2%}), "
        f"validation {after.validation_accuracy or 0:.2%} with the floor at "
        f"{outcome.floor:.2%}"
    )
    asked = ", ".join(
        f"--{name.replace('_', '-')} {value:,}"
        for name in BUDGETS
        if (value := getattr(settings, name)) is not None
    )
    asked = asked or f"--structure {settings.structure}"
    untouched = not outcome.result.plans
    if outcome.met:
        how = " by the original already, nothing was pruned" if untouched else ""
        return f"Met{how}: {asked}; {reached}."
    best = "The original, unpruned" if untouched else "The best valid model"
    return f"Not met: {asked}: {outcome.reason}. {best}: {reached}."
