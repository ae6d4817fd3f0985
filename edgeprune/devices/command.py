"""Runs a program of the system, and says in a few words why it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class CommandFailed(Exception):  # noqa: N818  it is always caught and told
    """A program failed or took too long; the text says which, without a full stop."""


def output_of(command: Sequence[str], limit_s: float) -> str:
    """What a program prints.

    Raises:
        CommandFailed: it ended with an error, or did not end.
    """
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"did not end within {limit_s:g} s") from error
    except OSError as error:
        raise CommandFailed(f"cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        said = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise CommandFailed(f"fails: {said.rstrip('.')}")
    return done.stdout
