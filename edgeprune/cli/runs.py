"""Commands that make something of a network: compress, fit, sparsify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgeprune.cli.app import NOT_MET, app, ending_early, showing
from edgeprune.cli.options import AsJson, Quiet, with_options
from edgeprune.settings import (
    CompressSettings,
    FitSettings,
    SparsifySettings,
    load_settings,
)


@app.command()
@with_options(CompressSettings)
def compress(
    given: dict[str, Any], *, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Compress a model within budgets; exit 0 if met, 3 if not, 1 if refused."""
    settings = load_settings(given, Path.cwd(), CompressSettings)
    _compress(settings, as_json=as_json, quiet=quiet)


@app.command()
@with_options(FitSettings)
def fit(
    given: dict[str, Any], *, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Shrink and widen a network until its shape settles at a budget."""
    settings = load_settings(given, Path.cwd(), FitSettings)
    _compress(settings, as_json=as_json, quiet=quiet)


def _compress(settings: CompressSettings, *, as_json: bool, quiet: bool) -> None:
    """Run by settings, show the report, and exit by its status."""
    if missing := settings.missing_budget():
        raise typer.BadParameter(missing)
    with showing(quiet=quiet) as (console, progress):
        from rich.console import Console

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
        with ending_early(progress, console) as held:
            done = compress_settings(settings, held)
        if as_json:
            typer.echo(to_json(done.report))
        else:
            show_report(Console(), done.report)
            typer.echo(done.folder / "report.html")
    raise typer.Exit(0 if done.report.status == "met" else NOT_MET)


@app.command()
@with_options(SparsifySettings)
def sparsify(
    given: dict[str, Any], *, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Train until a share of the weights or channels is zero; exit as compress."""
    settings = load_settings(given, Path.cwd(), SparsifySettings)
    with showing(quiet=quiet) as (_, progress):
        from rich.console import Console

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
