"""What a row of a study was taken with, and the line of its table that says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune.devices.worker import cpu_name

HERE = Path(__file__).parent


def origin() -> dict[str, str]:
    """The commit that runs, the machine, and the versions of what is timed on it."""
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "commit": done.stdout.strip(),
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "torch": version("torch"),
        "onnxruntime": version("onnxruntime"),
    }


def origins_in(held: Any) -> Iterator[dict[str, str]]:
    """What rows say of themselves, at any depth; each names its commit."""
    if isinstance(held, dict):
        if isinstance(held.get("commit"), str):
            yield held
        held = list(held.values())
    if isinstance(held, list):
        for part in held:
            yield from origins_in(part)


def taken(rows: Any) -> list[str]:
    """The last lines of a table: what its rows were taken with."""
    found: dict[str, set[str]] = {}
    for row in origins_in(rows):
        found.setdefault(_where(row), set()).add(row["commit"])
    return [
        line
        for where, commits in sorted(found.items())
        for line in ("", f"Taken at {', '.join(sorted(commits))}: {where}.")
    ]


def _where(row: dict[str, str]) -> str:
    if "machine" not in row:
        return "on a machine that was not noted"
    versions = f"torch {row['torch']}, ONNX Runtime {row['onnxruntime']}"
    return f"{row['machine']}, {versions}"
