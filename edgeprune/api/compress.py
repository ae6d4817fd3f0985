"""From settings to a finished run of compress or fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune import targets
from edgeprune.api.access import Access, access_to
from edgeprune.api.loading import load_workload, workload_of_objects
from edgeprune.api.origin import call_settings, own_task
from edgeprune.api.report import report_of
from edgeprune.api.run_folder import reserved, run_folder, write_run
from edgeprune.errors import DeviceError, TargetError
from edgeprune.finetune.process_group import run_as_main, work_for_main
from edgeprune.graph.device import device_named
from edgeprune.launch import is_worker, launched
from edgeprune.output import aside, check_folder, publish
from edgeprune.pipeline import Job, Outcome, check_job, run
from edgeprune.progress import SILENT, Logged, Progress
from edgeprune.records import RunReport
from edgeprune.report.trackers import tracking
from edgeprune.settings import CompressSettings
from edgeprune.workload import Workload, whole_of
from edgeprune.workload.packed import unpacked


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        model: the compressed module, at evaluation mode.
        folder: where its files are.

    Example:
        >>> import edgeprune
        >>> from examples import data, nets
        >>> settings = {"budget": {"max_macs": "60%"}, "train": False, "max_drop": 100}
        >>> done = edgeprune.compress(nets.make_net(), data.make_data(), **settings)
        >>> (done.folder / "model.onnx").exists(), done.model.training
        (True, False)
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
            data sets of (input, target), or of inputs alone.
        budget: milliseconds, or any of budget_ms, max_macs, max_params, max_size_mb,
            max_memory_mb; a share of the original's as "50%". None is needed with
            structure="pca" or an accuracy floor.
        out: folder of the run's files; a new one under runs/ by default.
        settings: any other setting of the command line, with underscores; `task` may
            be an `edgeprune.Task` of your own.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.

    Example:
        >>> import edgeprune
        >>> from examples import data, nets
        >>> done = edgeprune.compress(
        ...     nets.make_net(), data.make_data(), budget="60%", max_drop=100, epochs=1
        ... )
        >>> done.report.status, done.report.counted.latency_ratio <= 0.6
        ('met', True)
    """
    timed = isinstance(budget, int | float | str)
    limits = {"budget_ms": budget} if timed else dict(budget or {})
    given = {**settings, **limits, "target": target, "out": out}
    task = own_task(given)
    asked = call_settings(model, data, given, CompressSettings)
    shown = progress or Logged()
    if isinstance(model, str) and isinstance(data, str) and task is None:
        return compress_settings(asked, shown)
    asked.check()
    load = partial(workload_of_objects, model, data, asked, task)
    return _together(load, asked, shown)


def compress_settings(settings: CompressSettings, progress: Progress) -> Finished:
    """Do the main job as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    settings.check()
    if settings.out is not None:
        check_folder(settings.out)
    load = partial(load_workload, settings, SILENT if is_worker() else progress)
    return _together(load, settings, progress)


def _check_target(settings: CompressSettings) -> None:
    """Refuse a target that does not run the deployed file."""
    target = targets.load(settings.target)
    if settings.precision == "int8" and "int8" not in target.runtime.precisions:
        message = f"--precision int8: the target {settings.target} does not list int8."
        raise TargetError(message)


def _together(
    load: Callable[[], Workload], settings: CompressSettings, progress: Progress
) -> Finished:
    """Run, alone or as the main one of several processes, or help that one."""
    device_named(settings.device)  # refused before anything is loaded
    if is_worker():
        done = work_for_main(load().data)
        assert isinstance(done, Finished)  # from `run_as_main`, below
        return done
    _check_target(settings)
    access = access_to(settings)
    if launched():
        return run_as_main(lambda: _run(load(), access, settings, progress))
    return _run(load(), access, settings, progress)


def _run(
    workload: Workload, access: Access, settings: CompressSettings, progress: Progress
) -> Finished:
    """Run the pipeline; its files appear where they belong when all are there."""
    began = time.perf_counter()
    folder = run_folder(settings.out, workload.name)
    runner = access.runner(len(workload.inputs[0]))
    check_job(workload, settings)
    with (
        closing(runner),
        reserved(folder, workload, settings) as (held, kept),
        tracking(settings.log, folder, progress) as tracked,
    ):
        job = Job(workload, runner, settings, kept.folder, tracked)
        outcome = _outcome(job, held)
        kept.goes_on = outcome.untimed
        report = report_of(outcome, job, time.perf_counter() - began)
        with aside(folder) as written:
            write_run(outcome, job, report, written)
            folder = publish(written, folder)
        tracked.tell("finish", report, folder)
    return Finished(report, whole_of(unpacked(outcome.result.model.eval())), folder)


def _outcome(job: Job, folder: Path) -> Outcome:
    """The run's outcome; where its device fails in the middle, what is kept is said."""
    try:
        return run(job, folder)
    except DeviceError as error:
        message = f"{error} The same command goes on where it was."
        raise DeviceError(error.failure, message) from error
