"""edgeprune as a user starts it: in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.devices import QUICK

ROOT = Path(__file__).parents[1]


class KilledError(Exception):
    """Stands for a process that is stopped in the middle."""


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "edgeprune", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


MODEL = [
    "--model",
    "mynets:wide",
    "--weights",
    "ck.pt",
    "--data",
    "data.npz",
    "--target",
    QUICK,
]


# Accelerate starts several processes for GPUs only, but these need not be there.
TOGETHER = ("--multi_gpu", "--num_processes", "2", "--mixed_precision", "no")


def launched(folder, *command):
    """Two processes, as a user starts them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "accelerate.commands.launch", *TOGETHER]
    return subprocess.run(
        [*start, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
