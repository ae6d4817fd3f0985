"""What a row of a study was taken with."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def commit() -> str:
    """The commit that runs, in short."""
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
