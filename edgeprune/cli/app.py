"""Sets up the app, the progress display and the handling of errors for all commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.launch import TOGETHER, is_worker, launched
from edgeprune.progress import Interruptible, RunInterrupted

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprune.report.clock import RunClock
    from edgeprune.report.display import JsonLines, LiveProgress, PlainProgress

    Display = LiveProgress | PlainProgress | JsonLines

NOT_MET = 3
REGRESSION = 4
GOES_ON = ("compress", "fit", "sparsify", "sweep")  # where it was interrupted
KEPT = {"sweep": "the cells that have ended are kept"}
INTERRUPTED = 130  # what typer makes of Ctrl-C
ENDING = (
    "the run ends with the best model so far, as soon as the step at hand allows; "
    "Ctrl-C again ends it at once"
)

app = typer.Typer(
    help="Compress a CNN until it really runs within N milliseconds on its target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    """Compress a CNN until it really runs within N milliseconds on its target."""
    if show_version:
        typer.echo(__version__)
        raise typer.Exit
    if launched() and context.invoked_subcommand not in TOGETHER:
        message = f"several processes run {' and '.join(TOGETHER)} only"
        raise typer.BadParameter(message)


@contextmanager
def showing(
    *, quiet: bool, clock: RunClock | None = None
) -> Iterator[tuple[Console, LiveProgress | PlainProgress]]:
    """A console on standard error for progress; bars only for a person.

    Args:
        clock: of a whole run.
    """
    from rich.console import Console

    from edgeprune.report.display import LiveProgress, PlainProgress

    console = Console(stderr=True, quiet=is_worker())
    live = console.is_terminal and not quiet
    progress = (LiveProgress if live else PlainProgress)(console, clock)
    try:
        yield console, progress
    finally:
        progress.stop()


@contextmanager
def saying_lines(clock: RunClock) -> Iterator[tuple[Console, JsonLines]]:
    """A JSON object a line on standard output, and a console that shows nothing.

    The last line says why there is no result where there is none.
    """
    from rich.console import Console

    from edgeprune.report.display import JsonLines, end_line

    try:
        yield Console(quiet=True), JsonLines(typer.echo, clock)
    except EdgepruneError as error:
        typer.echo(end_line("error", str(error)))
        raise
    except (RunInterrupted, KeyboardInterrupt):
        typer.echo(end_line("interrupted", "nothing was written"))
        raise


@contextmanager
def ending_early(progress: Display, console: Console) -> Iterator[Interruptible]:
    """Progress that ends the run at the first Ctrl-C, with the best model so far.

    The second one ends the process at once.
    """
    held = Interruptible(progress)

    def ask(*_: object) -> None:
        held.ask()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        console.print(ENDING, highlight=False, soft_wrap=True)

    before = signal.getsignal(signal.SIGINT)
    if not launched():
        signal.signal(signal.SIGINT, ask)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """Run a command; a refusal is one line on standard error and exit 1."""
    try:
        with ExitStack() as stack:
            if is_worker():
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(nowhere))
            app()
    except EdgepruneError as error:
        where = f" in process {os.environ['RANK']}" if is_worker() else ""
        sys.stderr.write(f"error{where}: {error}\n")
        sys.exit(1)
    except RunInterrupted:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _say_interrupted()
        raise


def _say_interrupted() -> None:
    again = "; the same command goes on where it was"
    more = again if sys.argv[1] in GOES_ON else ""
    kept = KEPT.get(sys.argv[1], "nothing was written")
    sys.stderr.write(f"interrupted: {kept}{more}\n")
