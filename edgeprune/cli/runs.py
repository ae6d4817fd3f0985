"""Commands that make something of a network: compress, fit, sparsify, sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.cli.app import NOT_MET, app, ending_early, saying_lines, showing
from edgeprune.cli.options import AsJson, AsLines, Quiet, with_options
from edgeprune.launch import is_worker
from edgeprune.settings import (
    CompressSettings,
    FitSettings,
    SparsifySettings,
    load_settings,
)
from edgeprune.settings.floor import FLOORS
from edgeprune.settings.parts import BUDGET_NAMES

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.api.compress import Finished
    from edgeprune.api.several import OnTargets
    from edgeprune.api.sparsify import Sparsified
    from edgeprune.cli.app import Display

# What runs may differ in that take about as long.
HOW_FAR = {"out", "pt2", "seed", "max_drop", *FLOORS, *BUDGET_NAMES}


@dataclass(frozen=True)
class _Output:
    """How a run is shown, and its report.

    Attributes:
        json: the report as JSON on standard output.
        lines: its progress and its end as JSON lines there.
        quiet: no bars.
    """

    json: bool
    lines: bool
    quiet: bool

    @contextmanager
    def running(
        self, settings: CompressSettings | SparsifySettings
    ) -> Iterator[tuple[Console, Display]]:
        """Yield a console and what shows the run; how long it took is kept."""
        from edgeprune.report.clock import RunClock

        if self.json and self.lines:
            raise typer.BadParameter("Give --json or --json-lines, not both.")
        such = settings.model_dump_json(exclude=HOW_FAR)
        clock = RunClock(f"{settings.COMMAND} {such}")
        if self.lines:
            shows = saying_lines(clock)
        else:
            shows = showing(quiet=self.quiet, clock=clock)
        with shows as (console, progress):
            yield console, progress
        if not is_worker():
            clock.end()

    def tell(
        self,
        done: Finished | OnTargets | Sparsified,
        page: str,
        show: Callable[..., None],
    ) -> None:
        """Print what came of the run, as it was asked for."""
        from rich.console import Console

        from edgeprune.records import to_json
        from edgeprune.report.display import end_line

        report, folder = done.report, done.folder
        if self.lines:
            typer.echo(end_line(report.status, report.sentence, folder=str(folder)))
        elif self.json:
            typer.echo(to_json(report))
        else:
            show(Console(), report)
            typer.echo(folder / page)


@app.command()
@with_options(CompressSettings)
def compress(
    given: dict[str, Any],
    *,
    as_json: AsJson = False,
    as_lines: AsLines = False,
    quiet: Quiet = False,
) -> None:
    """Compress a model within budgets; exit 0 if met, 3 if not, 1 if refused."""
    settings = load_settings(given, Path.cwd(), CompressSettings)
    _compress(settings, _Output(as_json, as_lines, quiet))


@app.command()
@with_options(FitSettings)
def fit(
    given: dict[str, Any],
    *,
    as_json: AsJson = False,
    as_lines: AsLines = False,
    quiet: Quiet = False,
) -> None:
    """Shrink and widen a network until its shape settles at a budget."""
    settings = load_settings(given, Path.cwd(), FitSettings)
    _compress(settings, _Output(as_json, as_lines, quiet))


def _each_target(
    settings: CompressSettings | SparsifySettings,
) -> Sequence[CompressSettings | SparsifySettings]:
    several: Sequence[CompressSettings] = ()
    if isinstance(settings, CompressSettings):
        several = list(settings.for_each_target().values())
    return several or [settings]


def _check(settings: CompressSettings | SparsifySettings) -> None:
    """Refuse before torch is imported, which takes seconds, what needs no torch."""
    from edgeprune import targets
    from edgeprune.output import check_folder, check_folder_of_runs

    settings.check()
    settings.check_sources()
    for own in _each_target(settings):
        targets.load(own.target)
    if settings.out is not None:
        several = len(_each_target(settings)) > 1
        (check_folder_of_runs if several else check_folder)(settings.out)


def _compress(settings: CompressSettings, output: _Output) -> None:
    """Run by settings, show the report, and exit by its status."""
    if missing := settings.missing_budget():
        raise typer.BadParameter(missing)
    _check(settings)
    if settings.for_each_target():
        _compress_for_targets(settings, output)
        return
    with output.running(settings) as (console, progress):
        from edgeprune.api.compress import compress_settings
        from edgeprune.report.terminal import show_report

        if settings.example:
            console.print(
                "No model given: compressing the embedded example, a meter reader "
                "(VGG-16-BN, 8 digits of 32x32 in one call).",
                highlight=False,
                soft_wrap=True,
            )
        with ending_early(progress, console) as held:
            done = compress_settings(settings, held)
        progress.stop()
        output.tell(done, "report.html", show_report)
        if held.asked:  # which says nothing of how long such a run takes
            raise typer.Exit(NOT_MET)
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)


def _compress_for_targets(settings: CompressSettings, output: _Output) -> None:
    """The same for several targets."""
    with output.running(settings) as (_, progress):
        from edgeprune.api.several import PAGE, compress_for_targets
        from edgeprune.report.several import show_targets_report

        done = compress_for_targets(settings, progress)
        progress.stop()
        output.tell(done, PAGE, show_targets_report)
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)


@app.command()
@with_options(SparsifySettings)
def sparsify(
    given: dict[str, Any],
    *,
    as_json: AsJson = False,
    as_lines: AsLines = False,
    quiet: Quiet = False,
) -> None:
    """Train until a share of the weights or channels is zero; exit as compress."""
    settings = load_settings(given, Path.cwd(), SparsifySettings)
    output = _Output(as_json, as_lines, quiet)
    _check(settings)
    with output.running(settings) as (_, progress):
        from edgeprune.api.sparsify import sparsify_settings
        from edgeprune.report.sparsity import show_sparsity

        done = sparsify_settings(settings, progress)
        progress.stop()
        output.tell(done, "sparsity.html", show_sparsity)
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)


@app.command()
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .toml file: settings of compress, and a table [sweep] of lists."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("sweep"),
    jobs: Annotated[
        int,
        typer.Option(help="Cells at once here; CPUs of a cell on Ray.", min=1),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, such as auto."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run every choice of settings, and show which result to ship.

    The same command goes on where it was.
    """
    with showing(quiet=quiet) as (_, progress):
        from rich.console import Console

        from edgeprune.records import to_json
        from edgeprune.report.sweep import show_sweep
        from edgeprune.sweep.run import PAGE
        from edgeprune.sweep.run import sweep as run_sweep

        found = run_sweep(file, out, progress, jobs=jobs, ray=ray)
        progress.stop()
        if as_json:
            typer.echo(to_json(found.report))
        else:
            show_sweep(Console(), found.report)
            typer.echo(found.folder / PAGE)
    raise typer.Exit(0 if found.report.ship else NOT_MET)
