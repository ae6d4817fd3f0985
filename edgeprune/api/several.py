"""One network for several targets: a model for each, and one that meets all budgets.

A run for each target first. Where none of their models meets all budgets, the one that
comes nearest is compressed further on the target where it takes too long: that makes it
slower nowhere. Runs that have ended are found again, so that a command that was killed
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgeprune.api.access import access_to
from edgeprune.api.compress import compress_settings
from edgeprune.api.loading import batch_of
from edgeprune.api.run_folder import INT8_FILE, MODEL_FILE, result_in, run_folder
from edgeprune.files import write_whole
from edgeprune.output import TARGETS
from edgeprune.progress import Named, Progress
from edgeprune.records import (
    ModelOnTargets,
    PairedTiming,
    RunReport,
    TargetsReport,
    to_json,
)
from edgeprune.records.several import TARGETS_SCHEMA
from edgeprune.report.files import read_report
from edgeprune.report.several import targets_page
from edgeprune.settings import CompressSettings
from edgeprune.workload import EXAMPLE

BASELINE_FILE = "baseline.onnx"
JSON, PAGE = f"{TARGETS}.json", f"{TARGETS}.html"
THEN = "-then-"


@dataclass(frozen=True)
class OnTargets:
    """A finished run for several targets.

    Attributes:
        folder: with a run's folder for each of them, and for those tried for all.
    """

    report: TargetsReport
    folder: Path


def compress_for_targets(settings: CompressSettings, progress: Progress) -> OnTargets:
    """Do the main job for each target that the settings name, and for all of them.

    Raises:
        EdgepruneError: something is refused or fails; runs that ended are kept.
    """
    settings.check()
    each = settings.for_each_target()
    for own in each.values():
        access_to(own)
    folder = run_folder(settings.out, settings.model or EXAMPLE)
    runs = {
        name: _run(own, folder / name, Named(progress, name))
        for name, own in each.items()
    }
    budgets = {name: _most_ms(report) for name, report in runs.items()}
    models = [
        _on_all(each, folder, name, report, budgets) for name, report in runs.items()
    ]
    for _ in each:
        met = any(len(item.within) == len(each) for item in models)
        if met or any(item.status != "met" for item in models):
            break  # where one budget alone is out of reach, so are all together
        nearest = min(models, key=lambda item: _pressure(item, budgets))
        target = max(budgets, key=lambda at: nearest.latency_ms[at] / budgets[at])
        name = f"{nearest.run}{THEN}{target}"
        further = {
            "weights": folder / nearest.run,
            "budget_ms": budgets[target],
            "accuracy_floor": runs[target].accuracy_floor,
            "max_drop": None,
        }
        own = each[target].model_copy(update=further)
        report = _run(own, folder / name, Named(progress, name))
        models.append(_on_all(each, folder, name, report, budgets))
    report = _report(runs, budgets, models)
    write_whole(folder / PAGE, targets_page(report))
    write_whole(folder / JSON, to_json(report))
    return OnTargets(report, folder)


def _run(settings: CompressSettings, folder: Path, progress: Progress) -> RunReport:
    """A run of its own, or what it left when it ended before.

    Raises:
        OutputError: that was a run with other settings.
    """
    found = result_in(folder, settings, "model", "data")
    if found is not None:
        return found
    own = settings.model_copy(update={"out": folder})
    return compress_settings(own, progress).report


def _most_ms(report: RunReport) -> float:
    found = report.budget.most_ms(report.baseline.latency_ms)
    assert found is not None  # each target has a budget of time
    return found


def _on_all(
    each: Mapping[str, CompressSettings],
    folder: Path,
    name: str,
    report: RunReport,
    budgets: Mapping[str, float],
) -> ModelOnTargets:
    """Time a run's model on every target, in turn with the original."""
    in_int8 = report.counted is report.int8
    model = folder / name / (INT8_FILE if in_int8 else MODEL_FILE)
    found: dict[str, float] = {}
    estimated: list[str] = []
    for target, settings in each.items():
        if name.rpartition(THEN)[2] == target:
            found[target] = report.counted.latency_ms
            if report.counted.is_estimate:
                estimated.append(target)
            continue
        original = read_report(folder / target).baseline
        with closing(access_to(settings).runner(batch_of(settings))) as runner:
            files = [folder / target / BASELINE_FILE, model]
            before, after = runner.time(files)
        found[target] = PairedTiming(after, before).ratio * original.latency_ms
        if after.is_estimate:
            estimated.append(target)
    return ModelOnTargets(
        run=name,
        file=model.name,
        latency_ms=found,
        within=tuple(target for target, ms in found.items() if ms <= budgets[target]),
        validation_accuracy=report.counted.validation_accuracy or 0.0,
        test_accuracy=report.counted.test_accuracy or 0.0,
        macs=report.counted.macs,
        size_bytes=report.counted.size_bytes,
        status=report.status,
        estimated=tuple(estimated),
    )


def _pressure(item: ModelOnTargets, budgets: Mapping[str, float]) -> float:
    """The largest share of any target's budget that a model takes."""
    return max(ms / budgets[target] for target, ms in item.latency_ms.items())


def _report(
    runs: Mapping[str, RunReport],
    budgets: Mapping[str, float],
    models: list[ModelOnTargets],
) -> TargetsReport:
    """Choose the most accurate of the models that meet all budgets."""
    fitting = [
        item
        for item in models
        if len(item.within) == len(budgets) and item.status == "met"
    ]
    best = max(fitting, key=lambda item: item.validation_accuracy, default=None)
    limits = ", ".join(f"{name} {ms:.4g} ms" for name, ms in budgets.items())
    first = next(iter(runs.values()))
    if best is None:
        nearest = min(models, key=lambda item: _pressure(item, budgets))
        missed = [name for name in budgets if name not in nearest.within]
        sentence = (
            f"Not met on all of them ({limits}): the model that comes nearest, "
            f"{nearest.run}, takes too long on {', '.join(missed) or 'none'}."
        )
        if not missed:
            sentence = f"Not met ({limits}): {nearest.run} is below the floor."
    else:
        times = ", ".join(
            f"{name} {ms:.4g} ms{' (estimated)' if name in best.estimated else ''}"
            for name, ms in best.latency_ms.items()
        )
        how = "Met by estimates" if best.estimated else "Met"
        sentence = (
            f"{how} on all of them ({limits}) by {best.run}/{best.file}: {times}; test "
            f"{first.metric.told(best.test_accuracy)}."
        )
    return TargetsReport(
        schema_version=TARGETS_SCHEMA,
        status="unmet" if best is None else "met",
        sentence=sentence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        budgets_ms=budgets,
        baseline_ms={name: item.baseline.latency_ms for name, item in runs.items()},
        baseline_test_accuracy=first.baseline.test_accuracy or 0.0,
        models=tuple(models),
        for_all=None if best is None else best.run,
        metric=first.metric,
    )
