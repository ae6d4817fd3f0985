"""edgeprune as a user starts it: in this process, which is faster, or in another."""

import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest import mock

from edgeprune import cli
from tests.made_up import FAKE

ROOT = Path(__file__).parents[1]
MODEL = [
    *("--model", "mynets:wide", "--weights", "ck.pt", "--data", "data.npz"),
    *("--target", FAKE),
]
# Accelerate starts several processes for GPUs only, but these need not be there.
TOGETHER = ("--multi_gpu", "--num_processes", "2", "--mixed_precision", "no")


class KilledError(Exception):
    """Stands for a process that is stopped in the middle."""


@dataclass(frozen=True)
class Ended:
    """What a command left, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def command(folder, *arguments):
    """One command in a folder, whose modules are forgotten afterwards."""
    out, err, path = StringIO(), StringIO(), list(sys.path)
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", ["edgeprune", *arguments]),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.path[:] = path
            for name, module in list(sys.modules.items()):
                if str(folder) in str(getattr(module, "__file__", "")):
                    del sys.modules[name]
    return Ended(code, out.getvalue(), err.getvalue())


def process(folder, *arguments):
    """The same in a process of its own."""
    return _started(folder, [sys.executable, "-m", "edgeprune", *arguments])


def launched(folder, *arguments):
    """Two processes that train together, as a user starts them."""
    start = [sys.executable, "-m", "accelerate.commands.launch", *TOGETHER]
    return _started(folder, [*start, *arguments], OMP_NUM_THREADS="1")


def _started(folder, words, **environment):
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
