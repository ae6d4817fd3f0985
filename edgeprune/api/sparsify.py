"""From settings to a finished run that makes zeros."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.api.access import Access, access_to
from edgeprune.api.loading import load_workload, workload_of_objects
from edgeprune.api.origin import call_settings, facts_of, origin_of, own_task
from edgeprune.api.run_folder import reserved, run_folder, write_sparse_run
from edgeprune.output import aside, check_folder, publish
from edgeprune.progress import Logged, Progress
from edgeprune.records import REMOVED, SPARSITY_SCHEMA, SparsityReport
from edgeprune.settings import SparsifySettings
from edgeprune.sparse import SparseJob, SparseOutcome
from edgeprune.sparse import sparsify as make_sparse
from edgeprune.workload import Workload


@dataclass(frozen=True)
class Sparsified:
    """A finished run that made zeros.

    Attributes:
        model: the module with the zeros, or the smaller one, at evaluation mode.
        folder: where its files are.

    Example:
        >>> import edgeprune
        >>> from examples import data, nets
        >>> settings = {"sparsity": 0.5, "epochs": 1, "max_drop": 100}
        >>> done = edgeprune.sparsify(nets.make_net(), data.make_data(), **settings)
        >>> bool((done.model[0].weight == 0).any())
        True
    """

    report: SparsityReport
    model: nn.Module
    folder: Path


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
        settings: as for `compress`.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.

    Example:
        >>> import edgeprune
        >>> from examples import data, nets
        >>> settings = {"sparsity": 0.5, "epochs": 1, "max_drop": 100}
        >>> done = edgeprune.sparsify(nets.make_net(), data.make_data(), **settings)
        >>> done.report.status, done.report.method
        ('met', 'magnitude')
    """
    given = {**settings, "method": method, "sparsity": sparsity}
    task = own_task(given)
    asked = call_settings(model, data, given, SparsifySettings)
    shown = progress or Logged()
    if isinstance(model, str) and isinstance(data, str) and task is None:
        return sparsify_settings(asked, shown)
    asked.check()
    access = access_to(asked)
    workload = workload_of_objects(model, data, asked, task)
    return _sparsify(workload, access, asked, shown)


def sparsify_settings(settings: SparsifySettings, progress: Progress) -> Sparsified:
    """Do the same as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    settings.check()
    if settings.out is not None:
        check_folder(settings.out)
    access = access_to(settings)
    workload = load_workload(settings, progress)
    return _sparsify(workload, access, settings, progress)


def _sparsify(
    workload: Workload,
    access: Access,
    settings: SparsifySettings,
    progress: Progress,
) -> Sparsified:
    """The run, its files put aside first; trainings are kept until it is finished."""
    began = time.perf_counter()
    folder = run_folder(settings.out, f"sparsify {workload.name}")
    with (
        closing(access.runner(len(workload.inputs[0]))) as runner,
        reserved(folder, workload, settings) as (held, kept),
    ):
        job = SparseJob(workload, runner, settings, kept.folder, progress)
        outcome = make_sparse(job, held)
        report = _sparsity_report(outcome, job, time.perf_counter() - began)
        with aside(folder) as written:
            write_sparse_run(outcome, job, report, written)
            folder = publish(written, folder)
    return Sparsified(report, outcome.files[-1].model.eval(), folder)


def _sparsity_report(
    outcome: SparseOutcome, job: SparseJob, seconds: float
) -> SparsityReport:
    timings = tuple(paired.timing for paired in outcome.timings)
    return SparsityReport(
        schema_version=SPARSITY_SCHEMA,
        status="met" if outcome.met else "unmet",
        sentence=_sparsity_sentence(outcome, job),
        **origin_of(job.workload, job.settings, seconds),
        machine=timings[0].machine,
        model=job.workload.name,
        method=job.settings.method,
        wanted=job.sparsity,
        accuracy_floor=outcome.floor,
        data=facts_of(job.data),
        steps=outcome.steps,
        training=outcome.training,
        timings=timings,
        penalty=outcome.penalty,
        removed=outcome.removed,
        difference=outcome.difference,
        parity=outcome.parity,
        notes=outcome.notes,
        metric=job.data.task.metric,
    )


def _sparsity_sentence(outcome: SparseOutcome, job: SparseJob) -> str:
    """Say in one sentence what was reached."""
    before, after = outcome.steps[0], outcome.steps[-1]
    metric = job.data.task.metric
    made = [step for step in outcome.steps if step.name not in REMOVED]
    zeros = made[-1].sparsity
    reached = (
        f"{zeros.overall:.1%} of the weights of convolutions and linear layers and "
        f"{zeros.channels:.1%} of the channels are zero"
    )
    if outcome.removed is not None:
        left = f"{after.params:,} of {before.params:,} parameters are left"
        reached += f"; without them, {left}"
    reached += (
        f"; test {metric.told(after.test_accuracy or 0)} (baseline "
        f"{metric.text(before.test_accuracy or 0)}), validation "
        f"{metric.text(after.validation_accuracy)} with the floor at "
        f"{metric.text(outcome.floor)}; compressed "
        f"{after.sparsity.gzip_bytes / 1e6:.2f} MB (baseline "
        f"{before.sparsity.gzip_bytes / 1e6:.2f} MB)"
    )
    asked = f"--method {job.settings.method} --sparsity {job.sparsity:g}"
    if outcome.met:
        return f"Met: {asked}; {reached}."
    best = "The original" if len(outcome.steps) == 1 else "The best valid model"
    return f"Not met: {asked}: {outcome.reason}. {best}: {reached}."
