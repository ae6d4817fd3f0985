"""Commands that look at results: compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.app import REGRESSION, app
from edgeprune.settings import parse_share


@app.command()
def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs, files of edgeprune measure --out, or, with "
            "--remeasure, ONNX files. The first is what the others are compared with."
        ),
    ],
    *,
    fail_on_regression: Annotated[
        str | None,
        typer.Option(
            help="Exit 4 if another is slower, less accurate, larger or takes more "
            "memory than the first by more than this share, such as 5%, or if that "
            "cannot be told."
        ),
    ] = None,
    remeasure: Annotated[
        bool,
        typer.Option("--remeasure", help="Time all files now, their rounds in turn."),
    ] = False,
    target: Annotated[str, typer.Option(help="Where --remeasure times.")] = "host",
    processes: Annotated[
        int | None,
        typer.Option(help="Of --remeasure.", min=1, show_default="the target's"),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Also write an HTML page.")] = None,
) -> None:
    """Show results side by side, and point out what makes them unlike."""
    allowed = None if fail_on_regression is None else parse_share(fail_on_regression)
    from rich.console import Console

    from edgeprune.api.compare import compare_anew, compare_results
    from edgeprune.files import write_whole
    from edgeprune.report.compare_page import render_comparison, show_comparison

    if remeasure:
        found = compare_anew(sources, target=target, processes=processes)
    else:
        found = compare_results(sources)
    worse = None if allowed is None else found.regressions(allowed)
    show_comparison(Console(), found)
    if page is not None:
        write_whole(page, render_comparison(found, worse))
        typer.echo(page)
    if worse:
        typer.echo(f"regression: {'; '.join(worse)}.")
        raise typer.Exit(REGRESSION)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its report.json.")],
) -> None:
    """Draw the page of a run anew from its report.json."""
    from edgeprune.report.files import redraw

    typer.echo(redraw(run))
