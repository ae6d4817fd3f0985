"""Does each table name its command and its commit, and is it as new as its code?

    python -m benchmarks.age

Prints, for each study, the commits that its rows were taken at (or, where rows do not
say so, the last one that wrote them: they are no newer) and how many commits have since
changed the code that it measures. Exits 1 where a table names no command, or is older
than its code.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.origin import origins_in

HERE = Path(__file__).parent
ROOT = HERE.parent
TAKEN = re.compile(r"^Taken at (\w+):", re.MULTILINE)  # of a table without rows kept
# The folders of edgeprune whose code decides the figures of a study.
MEASURES = {
    "coverage": ("graph",),
    "criteria": ("score", "reconstruct"),
    "devices": ("devices", "measure"),
    "estimates": ("estimate",),
    "int8_pruning": ("quantize", "pipeline", "finetune"),
    "latency_model": ("profile",),
    "low_rank": ("pipeline/search", "prune"),
    "macs": ("graph",),
    "onnx_in": ("onnx_in",),
    "other_networks": ("graph", "pipeline", "tasks"),
    "planner": ("prune", "profile", "pipeline"),
    "quantize": ("quantize",),
    "recovery": ("finetune", "reconstruct", "prune"),
    "seeds": ("sparse", "finetune"),
    "speed": ("pipeline", "profile", "finetune"),
    "structure": ("pipeline/search", "prune"),
    "sweeps": ("sweep",),
    "tasks": ("tasks", "pipeline"),
}


def git(*arguments: str) -> str:
    """What a git command prints."""
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


def taken_at(name: str) -> tuple[list[str], bool]:
    """The commits of a study's rows, and whether the rows say so themselves."""
    data, page = HERE / f"{name}.json", HERE / f"{name}.md"
    if data.exists():
        rows = origins_in(json.loads(data.read_text()))
        named = sorted({row["commit"] for row in rows})
    else:
        named = TAKEN.findall(page.read_text())
    if named:
        return named, True
    written = data if data.exists() else page
    return [git("log", "-1", "--format=%h", "--", str(written))], False


def changes_since(commit: str, name: str) -> int:
    """How many commits changed the code that a study measures."""
    paths = [f"edgeprune/{folder}" for folder in MEASURES[name]]
    return int(git("rev-list", "--count", f"{commit}..HEAD", "--", *paths))


def main() -> int:
    """Print the age of all tables; how many are wrong."""
    wrong = 0
    tables = sorted(path for path in HERE.glob("*.md") if path.stem != "README")
    for table in tables:
        name = table.stem
        if (
            name not in MEASURES
            or f"python -m benchmarks.{name}" not in table.read_text()
        ):
            print(f"{name}: it names no command, or nobody knows what it measures")
            wrong += 1
            continue
        commits, own = taken_at(name)
        since = max(changes_since(commit, name) for commit in commits)
        wrong += since > 0
        said = ", ".join(commits) if own else f"{commits[0]} or before"
        state = (
            "as new as its code" if not since else f"{since} changes behind its code"
        )
        print(f"{name}: taken at {said}; {state}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
