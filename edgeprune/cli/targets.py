"""Commands about targets: list, show, check, setup, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.app import app

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
        from edgeprune.measure.browser.serving import Serving, serve
    except ModuleNotFoundError as error:
        message = (
            f"The page needs the package {error.name}: pip install 'edgeprune[phone]'."
        )
        raise TargetError(message) from error
    from edgeprune.report.targets import show_address

    how = Serving(lan=lan, https=https, adb=adb, port=port, ort_web=ort_web)
    try:
        serve(target, how, show_address, typer.echo)
    except KeyboardInterrupt:
        typer.echo("The page is served no longer.")
