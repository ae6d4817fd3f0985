"""Commands about targets: list, show, check, setup, calibrate, serve."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.app import app, showing
from edgeprune.cli.options import AsJson, Quiet

Named = Annotated[str, typer.Argument(help="A target, or the path of a .toml file.")]

targets_app = typer.Typer(
    help="Devices: which there are, whether they can be reached, what they lack.",
    no_args_is_help=True,
)
app.add_typer(targets_app, name="targets")


@targets_app.command("list")
def list_targets() -> None:
    """List the targets of this folder, of yours, and the shipped ones."""
    from rich.console import Console

    from edgeprune.report.targets import show_targets

    show_targets(Console())


@targets_app.command()
def show(name: Named) -> None:
    """Print a target's file as it counts, with what its base says."""
    from rich.console import Console

    from edgeprune import targets
    from edgeprune.report.targets import show_target

    show_target(Console(), targets.load(name))


@targets_app.command()
def check(name: Named, *, as_json: AsJson = False) -> None:
    """Say whether a device can be measured, and what is wrong; exit 1 if it cannot."""
    from rich.console import Console

    from edgeprune.api.devices import check_target
    from edgeprune.records import to_json
    from edgeprune.report.targets import show_check

    found = check_target(name)
    if as_json:
        typer.echo(to_json(found))
    else:
        show_check(Console(), found)
    if not found.usable:
        raise typer.Exit(1)


@targets_app.command()
def setup(
    name: Named,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Install there what is missing.")
    ] = False,
) -> None:
    """Print what a device lacks to be measured; exit 1 if it lacks something."""
    from edgeprune import targets
    from edgeprune.devices.setup import set_up

    if not set_up(targets.load(name), typer.echo, yes=yes):
        raise typer.Exit(1)


@targets_app.command()
def calibrate(name: Named, *, quiet: Quiet = False) -> None:
    """Measure usual operators on a device once, so that later runs need less."""
    with showing(quiet=quiet) as (_, progress):
        from edgeprune.api.calibrate import calibrate as calibrate_target

        lines = calibrate_target(name, progress)
    for line in lines:
        typer.echo(line)


@targets_app.command()
def serve(
    name: Named = "android-browser",
    *,
    lan: Annotated[
        bool, typer.Option("--lan", help="For devices in this network, by Wi-Fi.")
    ] = False,
    https: Annotated[
        bool,
        typer.Option(
            "--https",
            help="Encrypted, with a certificate made here: for threads, WebGPU and a "
            "screen that stays on.",
        ),
    ] = False,
    adb: Annotated[
        bool, typer.Option("--adb", help="Open it on the phone on the cable.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Of the page.", min=1, max=65535)
    ] = None,
    ort_web: Annotated[
        Path | None,
        typer.Option(
            help="The files of ONNX Runtime Web: a folder or npm's package.",
            show_default="the cache, or npm",
        ),
    ] = None,
) -> None:
    """Serve the page with which a phone measures, until Ctrl-C."""
    from edgeprune import targets
    from edgeprune.errors import TargetError

    target = targets.load(name)
    try:
        from edgeprune.devices.browser.serving import Serving, serve
    except ModuleNotFoundError as error:
        message = (
            f"The page needs the package {error.name}: pip install 'edgeprune[phone]'."
        )
        raise TargetError(message) from error
    from edgeprune.report.targets import show_address

    how = Serving(lan=lan, https=https, adb=adb, port=port, ort_web=ort_web)
    with suppress(KeyboardInterrupt):
        serve(target, how, show_address, typer.echo)
    typer.echo("The page is served no longer.")
