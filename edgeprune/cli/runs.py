"""Commands that make something of a network: compress, fit, sparsify."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import typer

from edgeprune.cli.app import NOT_MET, RENDERING, app, showing
from edgeprune.cli.options import (
    AccuracyFloor,
    AsJson,
    Augment,
    Average,
    Batch,
    BatchSize,
    BudgetMs,
    Criterion,
    Data,
    Distil,
    DynamicBatch,
    Epochs,
    FromScratch,
    Gradual,
    Grow,
    InpaintWeight,
    Input,
    LabelSmoothing,
    LearningRate,
    LowRank,
    Materialise,
    MaxDrop,
    MaxMacs,
    MaxMemoryMb,
    MaxParams,
    MaxSizeMb,
    Mean,
    Method,
    Minutes,
    Model,
    NumClasses,
    Optimizer,
    Out,
    Penalty,
    Precision,
    Pt2,
    Quiet,
    Reconstruct,
    Regulariser,
    Rounds,
    Seed,
    SelfSupervised,
    SparsityShare,
    Std,
    StopAtFloor,
    Structure,
    Target,
    Train,
    UngroupedProxy,
    Variance,
    Weights,
)


@app.command()
def compress(
    *,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    data: Data = None,
    input_shape: Input = None,
    batch: Batch = None,
    mean: Mean = None,
    std: Std = None,
    budget_ms: BudgetMs = None,
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_size_mb: MaxSizeMb = None,
    max_memory_mb: MaxMemoryMb = None,
    precision: Precision = None,
    accuracy_floor: AccuracyFloor = None,
    max_drop: MaxDrop = None,
    criterion: Criterion = None,
    structure: Structure = None,
    variance: Variance = None,
    from_scratch: FromScratch = None,
    ungrouped_proxy: UngroupedProxy = None,
    grow: Grow = None,
    low_rank: LowRank = None,
    reconstruct: Reconstruct = None,
    train: Train = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    distil: Distil = None,
    label_smoothing: LabelSmoothing = None,
    augment: Augment = None,
    self_supervised: SelfSupervised = None,
    inpaint_weight: InpaintWeight = None,
    stop_at_floor: StopAtFloor = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    average: Average = None,
    target: Target = None,
    dynamic_batch: DynamicBatch = None,
    pt2: Pt2 = None,
    seed: Seed = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compress a model within budgets; exit 0 if met, 3 if not, 1 if refused."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["growth"] = "wider" if given.pop("grow") else None
    _compress(given, as_json=as_json, quiet=quiet)


@app.command()
def fit(
    *,
    budget_ms: BudgetMs = None,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    data: Data = None,
    input_shape: Input = None,
    batch: Batch = None,
    mean: Mean = None,
    std: Std = None,
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_size_mb: MaxSizeMb = None,
    max_memory_mb: MaxMemoryMb = None,
    precision: Precision = None,
    accuracy_floor: AccuracyFloor = None,
    max_drop: MaxDrop = None,
    criterion: Criterion = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    distil: Distil = None,
    label_smoothing: LabelSmoothing = None,
    augment: Augment = None,
    self_supervised: SelfSupervised = None,
    inpaint_weight: InpaintWeight = None,
    stop_at_floor: StopAtFloor = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    average: Average = None,
    target: Target = None,
    dynamic_batch: DynamicBatch = None,
    pt2: Pt2 = None,
    seed: Seed = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Shrink and widen a network until its shape settles at a budget."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["growth"] = "both"
    _compress(given, as_json=as_json, quiet=quiet)


def _compress(given: dict[str, Any], *, as_json: bool, quiet: bool) -> NoReturn:
    """Run by settings, show the report, and exit by its status."""
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import lacking_budget, load_settings

    settings = load_settings(given, Path.cwd())
    if lacking := lacking_budget(settings):
        raise typer.BadParameter(lacking)
    with showing(quiet=quiet) as (console, progress):
        from edgeprune.api import compress_settings
        from edgeprune.records import to_json
        from edgeprune.report.terminal import show_report

        if settings.model is None and settings.data in (None, "digits"):
            console.print(
                "No model given: compressing the embedded example, a meter reader "
                "(VGG-16-BN, 8 digits of 32x32 in one call).",
                highlight=False,
                soft_wrap=True,
            )
        done = compress_settings(settings, progress)
        if as_json:
            typer.echo(to_json(done.report))
        else:
            show_report(Console(), done.report)
            typer.echo(done.folder / "report.html")
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)


@app.command()
def sparsify(
    *,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    data: Data = None,
    input_shape: Input = None,
    batch: Batch = None,
    mean: Mean = None,
    std: Std = None,
    method: Method = None,
    sparsity: SparsityShare = None,
    rounds: Rounds = None,
    gradual: Gradual = None,
    penalty: Penalty = None,
    regulariser: Regulariser = None,
    materialise: Materialise = None,
    accuracy_floor: AccuracyFloor = None,
    max_drop: MaxDrop = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    average: Average = None,
    target: Target = None,
    dynamic_batch: DynamicBatch = None,
    pt2: Pt2 = None,
    seed: Seed = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train until a share of the weights or channels is zero; exit as compress."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import load_settings

    settings = load_settings(given, Path.cwd())
    with showing(quiet=quiet) as (_, progress):
        from edgeprune.api import sparsify_settings
        from edgeprune.records import to_json
        from edgeprune.report.sparsity import show_sparsity

        done = sparsify_settings(settings, progress)
        if as_json:
            typer.echo(to_json(done.report))
        else:
            show_sparsity(Console(), done.report)
            typer.echo(done.folder / "sparsity.html")
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)
