"""From settings to a finished run folder: for the command line and for Python."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune import __version__, targets
from edgeprune.config import Settings, parse_settings
from edgeprune.data import Reading, Scale, Splits, load_data
from edgeprune.data.digits import BATCH
from edgeprune.data.factory import splits_of
from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.export.checkpoint import restore_
from edgeprune.files import check_folder
from edgeprune.finetune.baseline import trained_example
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.measure.bench import Bench
from edgeprune.measure.runner import runner_for
from edgeprune.pipeline import Job, Outcome, Run, check_job, reach_of
from edgeprune.profile.network import Profile, profile_network
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    REPORT_SCHEMA,
    DataFacts,
    GroupsReport,
    PrunableGroup,
    Reach,
    RunReport,
    Surgery,
)
from edgeprune.run_files import INT8_FILE, MODEL_FILE, run_folder, write_run
from edgeprune.workload import (
    EXAMPLE,
    METER_SHAPE,
    Workload,
    example_inputs,
    load_model,
    load_weights_,
)

BUDGETS = ("budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb")
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


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
    budget: float | Mapping[str, object],
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
            max_memory_mb.
        out: folder of the run's files; a new one under runs/ by default.
        settings: any other setting of the command line, with underscores.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    limits = {"budget_ms": budget} if isinstance(budget, int | float) else dict(budget)
    given = {**settings, **limits, "target": target, "out": out}
    if isinstance(model, str):
        given["model"] = model
    if isinstance(data, str):
        given["data"] = data
    given = {key: value for key, value in given.items() if value is not None}
    parsed = parse_settings(given, set(given), Path("compress()"))
    shown = progress or SILENT
    if isinstance(model, str) and isinstance(data, str):
        return compress_settings(parsed, shown)
    workload = _workload_of_objects(model, data, parsed)
    return _run(workload, parsed, shown)


def compress_settings(settings: Settings, progress: Progress) -> Finished:
    """The main job as the command line describes it.

    Raises:
        EdgepruneError: something is refused or fails; nothing is written.
    """
    if settings.out is not None:
        check_folder(settings.out)
    targets.load(settings.target)
    workload = load_workload(settings, progress)
    return _run(workload, settings, progress)


def groups_settings(
    settings: Settings, progress: Progress, *, timed: bool
) -> GroupsReport:
    """What of a network can go and what cannot; needs no data and writes nothing.

    Args:
        timed: profile the network on the target, for what each refusal costs.

    Raises:
        EdgepruneError: the model or the target is refused.
    """
    notes: tuple[str, ...] = ()
    if timed:
        graph = profile_settings(settings, progress)[0].graph
    else:
        model, inputs = _model_and_inputs(settings)
        graph = survey(model, inputs)
        notes = ("--timed measures what each refusal costs in ms",)
    return GroupsReport(
        tuple(
            PrunableGroup(
                group.name,
                group.size,
                group.granularity,
                group.layers("output"),
                group.layers("input"),
                group.approximate,
            )
            for group in graph.groups
        ),
        graph.blocks,
        graph.refusals,
        graph.traced.by_value,
        notes,
    )


def _model_and_inputs(settings: Settings) -> tuple[nn.Module, Inputs]:
    """What needs no data: a model, the example by default, and one random batch."""
    name = settings.model or EXAMPLE
    batch = settings.batch or (BATCH if name == EXAMPLE else 1)
    model, _ = _loaded(name, settings)
    shape = settings.input or (METER_SHAPE if name == EXAMPLE else None)
    if shape is None:
        raise ConfigError("Give --input, such as --input 3x224x224.")
    return model, example_inputs(shape, batch, settings.seed)


def profile_settings(
    settings: Settings, progress: Progress, *, reach: bool = False
) -> tuple[Profile, Reach | None]:
    """Profile a network on a target; needs no data and writes nothing.

    Args:
        reach: measure the latency table, for what pruning can reach.

    Raises:
        EdgepruneError: the model or the target is refused.
    """
    target = targets.load(settings.target)
    model, inputs = _model_and_inputs(settings)
    runner = runner_for(target, seed=settings.seed, batch=len(inputs[0]))
    with tempfile.TemporaryDirectory() as held:
        bench = Bench(runner, inputs, Path(held), settings.dynamic_batch)
        profile = profile_network(model, bench, progress)
        return profile, reach_of(profile, bench, progress) if reach else None


def load_workload(settings: Settings, progress: Progress) -> Workload:
    """Model, weights and data as the settings describe them; the example by default.

    Raises:
        EdgepruneError: one of them is missing or does not fit.
    """
    example = settings.model is None and settings.data in (None, "digits")
    if settings.model is None and not example:
        raise ConfigError(f"--data {settings.data} needs a model: give --model.")
    if settings.model is not None and settings.data is None:
        raise ConfigError(f"--model {settings.model} needs data: give --data.")
    source = settings.model or EXAMPLE
    progress.start("load", 2)
    splits = load_data(settings.data or "digits", _reading(settings), settings.input)
    progress.advance(splits.name)
    model, surgery = _loaded(source, settings)
    train, validation, test = splits.sizes
    counts = f"{train} + {validation} + {test} samples"
    progress.finish(f"{source}; {counts} of {splits.name}")
    if example and settings.weights is None:
        model = trained_example(model, splits, settings.seed, progress)
    batch = settings.batch or (BATCH if example else 1)
    found = _workload(source, model, splits, settings, batch)
    return replace(found, surgery=surgery)


def _workload_of_objects(model: Any, data: Any, settings: Settings) -> Workload:
    """A workload of what a Python caller holds in his hands."""
    model, surgery = _loaded(model, settings)
    reading = _reading(settings)
    if isinstance(data, str):
        splits = load_data(data, reading, settings.input)
    else:
        splits = splits_of("data", data, reading)
    name = settings.model or type(model).__name__
    found = _workload(name, model, splits, settings, settings.batch or 1)
    return replace(found, surgery=surgery)


def _loaded(model: Any, settings: Settings) -> tuple[nn.Module, Surgery]:
    """A model, or what its description makes, with the weights that are asked for.

    The weights may be a run's folder: what it made of the model goes on from there.
    """
    if isinstance(model, str):
        model = load_model(model, num_classes=settings.num_classes, seed=settings.seed)
    if not isinstance(model, nn.Module):
        found = type(model).__name__
        raise WorkloadError(f"The model must be a torch.nn.Module, found {found}.")
    if settings.weights is None:
        return model, Surgery()
    if settings.weights.is_dir():
        return model, restore_(model, settings.weights)
    load_weights_(model, settings.weights)
    return model, Surgery()


def _workload(
    name: str, model: nn.Module, splits: Splits, settings: Settings, batch: int
) -> Workload:
    shape = settings.input or splits.sample_shape
    if tuple(shape) != tuple(splits.sample_shape):
        message = (
            f"--input {'x'.join(map(str, shape))} does not fit the data, whose samples "
            f"are {'x'.join(map(str, splits.sample_shape))}."
        )
        raise ConfigError(message)
    return Workload(name, model, example_inputs(shape, batch, settings.seed), splits)


def _reading(settings: Settings) -> Reading:
    scale = None
    if settings.mean is not None and settings.std is not None:
        if len(settings.mean) != len(settings.std) or min(settings.std) <= 0:
            raise ConfigError("--mean and --std need as many numbers, --std above 0.")
        scale = Scale(settings.mean, settings.std)
    return Reading(settings.batch_size, settings.seed, scale)


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
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        versions=_versions(),
        machine=result.timing.machine,
        settings={
            **json.loads(settings.model_dump_json()),
            "model": job.workload.name,
            "data": splits.name,
        },
        target=settings.target,
        budget=settings.budget,
        accuracy_floor=outcome.floor,
        data=DataFacts(
            splits.name,
            *splits.sizes,
            splits.classes,
            splits.sample_shape,
            splits.note,
        ),
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
    untouched = not outcome.result.plans
    if outcome.met:
        how = " by the original already, nothing was pruned" if untouched else ""
        return f"Met{how}: {asked}; {reached}."
    best = "The original, unpruned" if untouched else "The best valid model"
    return f"Not met: {asked}: {outcome.reason}. {best}: {reached}."


def _versions() -> dict[str, str]:
    return {
        "edgeprune": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
