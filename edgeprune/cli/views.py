"""Commands that look at networks and files: profile, groups, score, measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.cli.app import app, showing
from edgeprune.cli.options import AsJson, Quiet, Reach, Timed, with_options
from edgeprune.settings import (
    DataSettings,
    GroupsSettings,
    ProfileSettings,
    ScoreSettings,
    duration,
    load_settings,
    parse_share,
    shapes_of,
)

if TYPE_CHECKING:
    from edgeprune.records import Measurements


@app.command()
@with_options(ProfileSettings)
def profile(
    given: dict[str, Any],
    *,
    reach: Reach = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what each layer costs on the target, and what can be pruned."""
    settings = load_settings(given, Path.cwd(), ProfileSettings)
    with showing(quiet=quiet) as (_, progress):
        from rich.console import Console

        from edgeprune.api.inspect import profile_settings
        from edgeprune.records import ProfileReport, to_json
        from edgeprune.report.terminal import ProfileView, show_profile

        found, reached = profile_settings(settings, progress, reach=reach)
        if as_json:
            report = ProfileReport(
                found.figures, found.graph.refusals, reached, found.notes
            )
            typer.echo(to_json(report))
            return
        name = settings.model or "the embedded meter reader"
        view = ProfileView(
            name, settings.target, found.figures, found.graph, reached, found.notes
        )
        show_profile(Console(), view)


@app.command()
@with_options(GroupsSettings)
def groups(
    given: dict[str, Any],
    *,
    timed: Timed = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show which channels and blocks can go, which cannot, and why."""
    settings = load_settings(given, Path.cwd(), GroupsSettings)
    with showing(quiet=quiet) as (_, progress):
        from rich.console import Console

        from edgeprune.api.inspect import groups_settings
        from edgeprune.records import to_json
        from edgeprune.report.terminal import show_groups_report

        found = groups_settings(settings, progress, timed=timed)
        if as_json:
            typer.echo(to_json(found))
        else:
            show_groups_report(Console(), found)


@app.command()
@with_options(ScoreSettings)
def score(
    given: dict[str, Any], *, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Score channels and blocks; sensitivity and principal components as plots."""
    settings = load_settings(given, Path.cwd(), ScoreSettings)
    with showing(quiet=quiet) as (_, progress):
        from rich.console import Console

        from edgeprune.api.inspect import score_settings
        from edgeprune.records import to_json
        from edgeprune.report.score import show_scores

        found, folder = score_settings(settings, progress)
        if as_json:
            typer.echo(to_json(found))
        else:
            show_scores(Console(), found)
            typer.echo(folder / "score.html")


OnTarget = Annotated[str, typer.Option(help="A target, or the path of a .toml file.")]


@app.command()
def measure(
    files: Annotated[list[Path], typer.Argument(help="ONNX files.")],
    *,
    target: OnTarget = "host",
    processes: Annotated[
        int | None,
        typer.Option(
            help="How many, one after another.", min=1, show_default="the target's"
        ),
    ] = None,
    sustained: Annotated[
        str | None,
        typer.Option(help="Run the last file for so long as well, such as 10m."),
    ] = None,
    foreign: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Measure nothing: read the file's time from what another program "
            "wrote (Qualcomm AI Hub's profile as JSON, onnxruntime_perf_test).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A JSON file for every sample; what is there is kept."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time any ONNX files on a target, their rounds in turn."""
    seconds = None if sustained is None else duration(sustained)
    from edgeprune.api.devices import check_kept, import_times, measure_files

    if out is not None:
        check_kept(out, target)
    if foreign is not None:
        found = import_times(files, foreign, target=target)
    else:
        found = measure_files(
            files, target=target, processes=processes, sustained=seconds
        )
    _tell(found, out, as_json=as_json)


Data = Annotated[str | None, typer.Option(help="Its test split, as for compress.")]
AsForCompress = Annotated[str | None, typer.Option(help="As for compress.")]
Sample = Annotated[
    str | None,
    typer.Option("--input", help="As for compress, where the file leaves it open."),
]
MaxMs = Annotated[float | None, typer.Option(help="Exit 1 if it takes longer.", min=0)]
MinAccuracy = Annotated[
    str | None,
    typer.Option(help="Exit 1 below this share of --data, such as 0.9 or 90%."),
]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    *,
    target: OnTarget = "host",
    sample: Sample = None,
    max_ms: MaxMs = None,
    min_accuracy: MinAccuracy = None,
    data: Data = None,
    mean: AsForCompress = None,
    std: AsForCompress = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with an ONNX file on a target; exit 1 if it cannot be used."""
    from rich.console import Console

    least = None if min_accuracy is None else parse_share(min_accuracy)
    given = {"data": data, "mean": mean, "std": std}
    asked = load_settings(given, Path.cwd(), DataSettings)
    if least is not None and data is None:
        raise typer.BadParameter("--min-accuracy needs --data.")
    from edgeprune.api.doctor import check_file
    from edgeprune.records import to_json
    from edgeprune.report.doctor import show_file_check

    found = check_file(
        file,
        target=target,
        sample=None if sample is None else shapes_of(sample),
        max_ms=max_ms,
        min_accuracy=least,
        data=asked,
    )
    if as_json:
        typer.echo(to_json(found))
    else:
        show_file_check(Console(), found)
    if not found.passed:
        raise typer.Exit(1)


def _tell(found: Measurements, out: Path | None, *, as_json: bool) -> None:
    """Keep measurements in a file if asked to, and print them."""
    from rich.console import Console

    from edgeprune.devices.foreign import with_earlier
    from edgeprune.files import write_whole
    from edgeprune.records import to_json
    from edgeprune.report.targets import show_measurements

    if out is not None:
        write_whole(out, to_json(with_earlier(found, out)))
    if as_json:
        typer.echo(to_json(found))
    else:
        show_measurements(Console(), found)
