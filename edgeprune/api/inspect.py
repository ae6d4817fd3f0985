"""Inspects a network: its groups, its cost, its scores. Nothing is compressed."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from edgeprune.api.access import access_to
from edgeprune.api.loading import load_workload, model_and_inputs
from edgeprune.api.run_folder import run_folder
from edgeprune.api.versions import versions
from edgeprune.graph.device import device_named
from edgeprune.graph.group_titles import titles_of
from edgeprune.graph.region import WHOLE, Region
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark
from edgeprune.output import aside, claimed, publish
from edgeprune.pipeline import check_answers, reach_of
from edgeprune.profile.network import Profile, profile_network
from edgeprune.progress import Progress
from edgeprune.prune.blocks import removable_blocks
from edgeprune.prune.by_variance import VARIANCE
from edgeprune.records import (
    SCORE_SCHEMA,
    BlockScore,
    GroupsReport,
    PrunableGroup,
    Reach,
    ScoreReport,
)
from edgeprune.report.score import write_scores
from edgeprune.score.blocks import score_blocks
from edgeprune.score.context import Context
from edgeprune.score.criteria import score_channels
from edgeprune.score.pca import spectra
from edgeprune.score.sensitivity import measure_sensitivity
from edgeprune.score.two_step import parse_criteria, rescore
from edgeprune.settings import GroupsSettings, ProfileSettings, ScoreSettings
from edgeprune.tasks import Classification, Task
from edgeprune.temporary import temporary_folder
from edgeprune.workload import EXAMPLE, check_weights


def groups_settings(
    settings: GroupsSettings, progress: Progress, *, timed: bool
) -> GroupsReport:
    """Find what can be removed from a network; needs no data and writes nothing.

    Args:
        timed: profile the network on the target, for what each refusal costs.

    Raises:
        EdgepruneError: the model or the target is refused.
    """
    notes: tuple[str, ...] = ()
    if timed:
        graph = profile_settings(settings, progress)[0].graph
    else:
        model, inputs = model_and_inputs(settings)
        graph = _region(model, settings).within(survey(model, inputs))
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


def profile_settings(
    settings: ProfileSettings, progress: Progress, *, reach: bool = False
) -> tuple[Profile, Reach | None]:
    """Profile a network on a target; needs no data and writes nothing.

    Args:
        reach: measure the latency table, for what pruning can reach.

    Raises:
        EdgepruneError: the model or the target is refused.
    """
    settings.check()
    access = access_to(settings)
    model, inputs = model_and_inputs(settings)
    with (
        closing(access.runner(len(inputs[0]))) as runner,
        temporary_folder() as held,
    ):
        benchmark = Benchmark(runner, inputs, held, settings.dynamic_batch)
        region = _region(model, settings)
        profile = profile_network(model, benchmark, progress, region)
        return profile, reach_of(profile, progress) if reach else None


def _region(model: nn.Module, settings: ProfileSettings) -> Region:
    """What of a network may change, where that can be said."""
    if not isinstance(settings, GroupsSettings):
        return WHOLE
    region = Region.of(settings.only, settings.keep)
    region.check(model)
    return region


CURVE = tuple(eighth / 8 for eighth in range(7, 0, -1))  # of a group's channels
NO_DATA = "--data adds sensitivity and principal components"
CUT = 0.5  # of a group's channels stay, for a second criterion


def score_settings(
    settings: ScoreSettings, progress: Progress
) -> tuple[ScoreReport, Path]:
    """Score a network and write score.html and score.json; where they are.

    Raises:
        EdgepruneError: the model or the data are refused, or the criterion needs data
            and there are none.
    """
    settings.check()
    device = device_named(settings.device)
    folder = run_folder(settings.out, f"score {settings.model or EXAMPLE}")
    with claimed(folder):
        report = _score_report(settings, device, progress)
        with aside(folder) as written:
            write_scores(report, written)
            folder = publish(written, folder)
    return report, folder


def _score_report(
    settings: ScoreSettings, device: torch.device, progress: Progress
) -> ScoreReport:
    context, name, data = _scored(settings, device, progress)
    first, second = parse_criteria(settings.criterion)  # the model's module may add one
    scores = score_channels(first, context)
    names = [block.name for block in removable_blocks(context.graph)]
    ranked = {item.name: torch.tensor(item.scores) for item in scores.groups}
    blocks = score_blocks(first, context, names, ranked)
    if second is not None:
        cuts = {name: round(CUT * len(values)) for name, values in ranked.items()}
        scores = rescore(second, context, scores, cuts)
    sensitivity = found = None
    if context.batches is not None:
        sensitivity = measure_sensitivity(context, scores, names, CURVE, metric=True)
        found = spectra(context)
    losses = sensitivity.blocks if sensitivity else {}
    return ScoreReport(
        schema_version=SCORE_SCHEMA,
        model=name,
        data=data,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        criterion=settings.criterion,
        sizes={group.name: group.size for group in context.graph.groups},
        titles=titles_of(context.graph, context.model),
        scores=scores,
        blocks=tuple(
            BlockScore(name, blocks.get(name), losses.get(name)) for name in names
        ),
        sensitivity=sensitivity,
        spectra=found,
        variance=settings.variance or VARIANCE,
        notes=found.notes if found else (NO_DATA,),
        metric=context.task.metric,
    )


def _scored(
    settings: ScoreSettings, device: torch.device, progress: Progress
) -> tuple[Context, str, str | None]:
    """Collect what criteria look at; without data where none are given or embedded."""
    if settings.model is not None and settings.data is None:
        model, inputs = model_and_inputs(settings)
        name, data, batches = settings.model, None, None
        task: Task = Classification()
    else:
        workload = load_workload(settings, progress)
        model, inputs = workload.model, workload.inputs
        name, data = workload.name, workload.data.name
        batches, task = workload.data.calibration, workload.data.task
        check_answers(workload)
    check_weights(model)
    graph = survey(model, inputs)
    context = Context(
        model,
        graph,
        batches,
        seed=settings.seed,
        progress=progress,
        device=device,
        task=task,
    )
    return context, name, data
