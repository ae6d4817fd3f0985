"""From settings to a finished run of compress or fit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune import targets
from edgeprune.api.origin import facts_of, origin_of, parsed
from edgeprune.config import BUDGETS, Settings, check_structure, option
from edgeprune.data.augment import Augmentation
from edgeprune.errors import TargetError
from edgeprune.files import check_folder
from edgeprune.finetune.recipe import AVERAGE, Recipe
from edgeprune.finetune.team import leading, serve
from edgeprune.launch import helping, launched
from edgeprune.loading import load_workload, workload_of_objects
from edgeprune.measure.runner import runner_for
from edgeprune.pipeline import (
    Job,
    Outcome,
    Run,
    check_job,
)
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    REPORT_SCHEMA,
    RunReport,
)
from edgeprune.run_files import (
    INT8_FILE,
    MODEL_FILE,
    run_folder,
    unfinished,
    write_run,
)
from edgeprune.units import milliseconds
from edgeprune.workload import Workload

ZEROS = (  # settings of `sparsify` alone
    *("method", "sparsity", "rounds", "gradual", "penalty", "regulariser"),
    "materialise",
)
INPAINT_WEIGHT = 0.1


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


def compress(
    model: nn.Module | str,
    data: Any,
    *,
    budget: float | str | Mapping[str, object] | None = None,
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
            max_memory_mb; a share of the original's as "50%". None is needed with
            structure="pca" or an accuracy floor.
        out: folder of the run's files; a new one under runs/ by default.
        settings: any other setting of the command line, with underscores.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    timed = isinstance(budget, int | float | str)
    limits = {"budget_ms": budget} if timed else dict(budget or {})
    given = {**settings, **limits, "target": target, "out": out}
    asked = parsed(model, data, given, "compress()", ZEROS)
    shown = progress or SILENT
    if isinstance(model, str) and isinstance(data, str):
        return compress_settings(asked, shown)
    check_structure(asked)
    return _together(partial(workload_of_objects, model, data, asked), asked, shown)


def compress_settings(settings: Settings, progress: Progress) -> Finished:
    """The main job as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    check_structure(settings)
    if settings.out is not None:
        check_folder(settings.out)
    _target(settings)
    load = partial(load_workload, settings, SILENT if helping() else progress)
    return _together(load, settings, progress)


def _target(settings: Settings) -> targets.Target:
    """The target, which is to run the file that counts."""
    target = targets.load(settings.target)
    if settings.precision == "int8" and "int8" not in target.runtime.precisions:
        message = f"--precision int8: the target {settings.target} does not list int8."
        raise TargetError(message)
    return target


def _together(
    load: Callable[[], Workload], settings: Settings, progress: Progress
) -> Finished:
    """Run, alone or as the main one of several processes, or help that one."""
    if helping():
        done = serve(load().data)
        assert isinstance(done, Finished)  # from `leading`, below
        return done
    if launched():
        return leading(lambda: _run(load(), settings, progress))
    return _run(load(), settings, progress)


def _run(workload: Workload, settings: Settings, progress: Progress) -> Finished:
    """Run the pipeline in a folder aside and move the files where they belong."""
    began = time.perf_counter()
    folder = run_folder(settings.out, workload.name)
    check_folder(folder)
    target = _target(settings)
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
        reconstruct=settings.reconstruct,
        train=settings.train,
        epochs=None if settings.epochs == "auto" else settings.epochs,
        minutes=settings.minutes,
        recipe=_recipe(settings, workload, progress),
        distil=settings.distil,
        optimizer=settings.optimizer,
        until_floor=settings.until_floor,
        stop_at_floor=settings.stop_at_floor,
        dynamic_batch=settings.dynamic_batch,
        precisions=target.runtime.precisions,
        precision=settings.precision,
        seed=settings.seed,
        state=unfinished(workload, settings),
        progress=progress,
    )
    check_job(job)
    with tempfile.TemporaryDirectory() as held:
        outcome = Run(job, Path(held)).go()
        report = _report(outcome, job, settings, time.perf_counter() - began)
        write_run(outcome, job, report, folder, asked=settings)
    shutil.rmtree(job.state or held, ignore_errors=True)
    return Finished(report, outcome.result.exported.model.eval(), folder)


def _recipe(settings: Settings, workload: Workload, progress: Progress) -> Recipe:
    """How to train, as far as the settings and the data say."""
    changes = workload.data.bears if settings.augment is None else settings.augment
    inpaints = settings.self_supervised == "inpaint"
    return Recipe(
        learning_rate=settings.learning_rate,
        average=AVERAGE if settings.average is None else settings.average,
        smoothing=settings.label_smoothing,
        inpaint=(settings.inpaint_weight or INPAINT_WEIGHT) if inpaints else 0.0,
        augment=Augmentation(changes),
        seed=settings.seed,
        progress=progress,
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
        **origin_of(job.workload, settings, seconds),
        machine=result.timing.machine,
        target=settings.target,
        budget=outcome.budget,
        accuracy_floor=outcome.floor,
        data=facts_of(splits),
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
        reconstructions=tuple(journal.reconstructions),
        training=tuple(journal.training),
        refused=outcome.profile.graph.refusals,
        plans=outcome.result.plans,
        notes=tuple(journal.notes),
        stage_seconds=journal.stage_seconds,
    )


def _asked(outcome: Outcome, settings: Settings) -> str:
    """The budgets as they were given, and what a share of the original comes to."""
    limits = outcome.budget
    units = {
        "budget_ms": milliseconds(limits.latency_ms or 0),
        "max_macs": f"{limits.macs or 0:,}",
        "max_params": f"{limits.params or 0:,}",
        "max_size_mb": f"{limits.size_bytes or 0:,} bytes",
        "max_memory_mb": f"{limits.memory_bytes or 0:,} bytes",
    }
    parts: list[str] = []
    for name in BUDGETS:
        value = getattr(settings, name)
        if isinstance(value, str):
            parts.append(f"{option(name)} {value} ({units[name]})")
        elif value is not None:
            parts.append(f"{option(name)} {value:,}")
    return ", ".join(parts)


def _whose(outcome: Outcome) -> str:
    """What is delivered where nothing had to be pruned."""
    if outcome.profile.bench.convolved:
        return "the original with its shortcuts as convolutions"
    return "the original already"


def _sentence(outcome: Outcome, settings: Settings) -> str:
    """What was reached, for a person."""
    in_int8 = outcome.int8.figures if settings.precision == "int8" else None
    before, after = outcome.baseline.figures, in_int8 or outcome.result.figures
    where = " in int8" if in_int8 else ""
    reached = (
        f"{milliseconds(after.latency_ms)}{where} "
        f"(baseline {milliseconds(before.latency_ms)}), test accuracy "
        f"{after.test_accuracy or 0:.2%} (baseline {before.test_accuracy or 0:.2%}), "
        f"validation {after.validation_accuracy or 0:.2%} with the floor at "
        f"{outcome.floor:.2%}"
    )
    asked = _asked(outcome, settings)
    if not asked:
        asked = (
            f"--structure {settings.structure}"
            if not settings.until_floor
            else f"pruned until the floor {outcome.floor:.2%}"
        )
    untouched = not outcome.result.plans
    if outcome.met:
        whose = "the original's int8 file" if where else _whose(outcome)
        how = f" by {whose}, nothing was pruned" if untouched else ""
        return f"Met{how}: {asked}; {reached}."
    best = "The original, unpruned" if untouched else "The best valid model"
    return f"Not met: {asked}: {outcome.reason}. {best}: {reached}."
