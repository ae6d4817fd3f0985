"""The command line: parse, call, render. The only place that prints or exits.

Stages are imported inside the commands: `--help` must not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.options import (
    HOW,
    AccuracyFloor,
    AsJson,
    Average,
    Batch,
    BatchSize,
    BudgetMs,
    Criterion,
    Data,
    DynamicBatch,
    Epochs,
    FromScratch,
    Gradual,
    Input,
    LearningRate,
    Materialise,
    MaxDrop,
    MaxMacs,
    MaxMemoryMb,
    MaxParams,
    MaxSizeMb,
    Mean,
    Method,
    Model,
    NumClasses,
    Optimizer,
    Out,
    Penalty,
    Pt2,
    Quiet,
    Regulariser,
    Rounds,
    Seed,
    SparsityShare,
    Std,
    Structure,
    Target,
    UngroupedProxy,
    Variance,
    Weights,
)

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.report.terminal import LiveProgress, PlainProgress

NOT_MET = 3
INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    help="Compress a CNN until it really runs within N milliseconds on its target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    """Compress a CNN until it really runs within N milliseconds on its target."""
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


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
    accuracy_floor: AccuracyFloor = None,
    max_drop: MaxDrop = None,
    criterion: Criterion = None,
    structure: Structure = None,
    variance: Variance = None,
    from_scratch: FromScratch = None,
    ungrouped_proxy: UngroupedProxy = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
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
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import load_settings

    settings = load_settings(given, Path.cwd())
    unlimited = settings.budget == type(settings.budget)()
    if unlimited and settings.structure == "solver":
        message = (
            "give a budget: --budget-ms, --max-macs, --max-params, --max-size-mb or "
            "--max-memory-mb"
        )
        raise typer.BadParameter(message)
    with _showing(quiet=quiet) as (console, progress):
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


RENDERING = {"as_json", "quiet", "timed", "reach"}


@app.command()
def profile(
    *,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    input_shape: Input = None,
    batch: Batch = None,
    target: Target = None,
    reach: Annotated[
        bool,
        typer.Option(
            "--reach",
            help="Measure the latency table and show how fast pruning can make it.",
            rich_help_panel=HOW,
        ),
    ] = False,
    seed: Seed = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what each layer costs on the target, and what can be pruned."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import load_settings

    settings = load_settings(given, Path.cwd())
    with _showing(quiet=quiet) as (_, progress):
        from edgeprune.inspection import profile_settings
        from edgeprune.records import ProfileReport, to_json
        from edgeprune.report.terminal import ProfileView, show_profile

        found, reached = profile_settings(settings, progress, reach=reach)
        if as_json:
            report = ProfileReport(found.figures, found.graph.refusals, reached)
            typer.echo(to_json(report))
            return
        name = settings.model or "the embedded meter reader"
        view = ProfileView(name, settings.target, found.figures, found.graph, reached)
        show_profile(Console(), view)


@app.command()
def groups(
    *,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    input_shape: Input = None,
    batch: Batch = None,
    target: Target = None,
    timed: Annotated[
        bool,
        typer.Option(
            "--timed",
            help="Measure on the target what each refusal costs in ms.",
            rich_help_panel=HOW,
        ),
    ] = False,
    seed: Seed = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show which channels and blocks can go, which cannot, and why."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import load_settings

    settings = load_settings(given, Path.cwd())
    with _showing(quiet=quiet) as (_, progress):
        from edgeprune.inspection import groups_settings
        from edgeprune.records import to_json
        from edgeprune.report.terminal import show_groups_report

        found = groups_settings(settings, progress, timed=timed)
        if as_json:
            typer.echo(to_json(found))
        else:
            show_groups_report(Console(), found)


@app.command()
def score(
    *,
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    data: Data = None,
    input_shape: Input = None,
    mean: Mean = None,
    std: Std = None,
    criterion: Criterion = None,
    variance: Variance = None,
    seed: Seed = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score channels and blocks; sensitivity and principal components as plots."""
    given = {name: value for name, value in locals().items() if name not in RENDERING}
    given["input"] = given.pop("input_shape")
    from rich.console import Console

    from edgeprune.config import load_settings

    settings = load_settings(given, Path.cwd())
    with _showing(quiet=quiet) as (_, progress):
        from edgeprune.inspection import score_settings
        from edgeprune.records import to_json
        from edgeprune.report.score import show_scores

        found, folder = score_settings(settings, progress)
        if as_json:
            typer.echo(to_json(found))
        else:
            show_scores(Console(), found)
            typer.echo(folder / "score.html")


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
    with _showing(quiet=quiet) as (_, progress):
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


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A run's folder.")],
    second: Annotated[Path, typer.Argument(help="Another run's folder.")],
    *,
    fail_on_regression: Annotated[
        str | None,
        typer.Option(
            help="Exit 3 if the second is slower or less accurate by more than this "
            "share, such as 5%."
        ),
    ] = None,
) -> None:
    """Show two runs side by side, and point out what makes them unlike."""
    from rich.console import Console

    from edgeprune.config import parse_share
    from edgeprune.report.compare import compare_reports
    from edgeprune.report.files import read_report
    from edgeprune.report.terminal import show_comparison

    allowed = None if fail_on_regression is None else parse_share(fail_on_regression)
    names = (str(first), str(second))
    comparison = compare_reports(names, read_report(first), read_report(second))
    show_comparison(Console(), comparison)
    if allowed is not None and comparison.regression > allowed:
        raise typer.Exit(NOT_MET)


@contextmanager
def _showing(*, quiet: bool) -> Iterator[tuple[Console, LiveProgress | PlainProgress]]:
    """A console on standard error for progress; bars only for a person."""
    from rich.console import Console

    from edgeprune.report.terminal import LiveProgress, PlainProgress

    console = Console(stderr=True)
    live = console.is_terminal and not quiet
    progress = LiveProgress(console) if live else PlainProgress(console)
    try:
        yield console, progress
    finally:
        progress.stop()


def main() -> None:
    """Run a command; a refusal is one line on standard error and exit 1."""
    try:
        app()
    except EdgepruneError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            sys.stderr.write("interrupted: nothing was written\n")
        raise
