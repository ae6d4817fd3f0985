"""How long whole runs take, stage by stage, and what comes of them.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.speed                          # all runs
    python -m benchmarks.speed example resnet50         # some
    python -m benchmarks.speed --code ../older          # of another checkout
    python -m benchmarks.speed --device cuda

Each run is a process of its own, first with an empty cache, then once more with what
that one has left there. A row is kept under the run, the device and the commit, and is
not taken again; `--again` does. Rows of two commits on one machine are to be compared;
nothing else may run meanwhile. Written to `speed.json` and `speed.md`. The networks for
CIFAR-10 and the signals are real ones (see `networks.data_folder`); those of 224 pixels
have random weights and noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import typer
from torch.utils.data import TensorDataset

import edgeprune
from benchmarks.fixed_runs import signal_net, signals
from benchmarks.networks import cifar10, cifar_resnet20, cifar_resnet56
from benchmarks.origin import origin, taken

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "speed.json", HERE / "speed.md"
ROOT = HERE.parent
STAGES = ("profile", "score", "prune", "reconstruct", "finetune", "measure", "export")
GIGABYTE = 1e9
CHILD = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("speed", sys.argv[1])
module = module_from_spec(spec)
sys.modules["speed"] = module
spec.loader.exec_module(module)
module.once(*sys.argv[2:])
"""
Row = dict[str, Any]
Parts = tuple[TensorDataset, ...]


def images() -> Parts:
    """CIFAR-10, normalised as the published ResNets take it."""
    held = cifar10((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    splits = (held.train, held.validation, held.test)
    return tuple(TensorDataset(*part) for part in splits)


def example(**how: Any) -> edgeprune.Finished:
    """The embedded example, to four fifths of its time."""
    from edgeprune.api.compress import compress_settings
    from edgeprune.progress import SILENT
    from edgeprune.settings import CompressSettings

    return compress_settings(CompressSettings(budget_ms="80%", **how), SILENT)


def resnet20(**how: Any) -> edgeprune.Finished:
    """ResNet-20 for CIFAR-10, to half of its time, trained for two epochs."""
    model, _ = cifar_resnet20()
    return edgeprune.compress(
        model, images(), budget="50%", max_drop=100.0, epochs=2, **how
    )


def resnet56(**how: Any) -> edgeprune.Finished:
    """ResNet-56 for CIFAR-10, to half of its time, without training."""
    model, _ = cifar_resnet56()
    return edgeprune.compress(
        model, images(), budget="50%", max_drop=100.0, train=False, **how
    )


def large(name: str, **how: Any) -> edgeprune.Finished:
    """A network of torchvision on noise, to half of its time, without training."""
    return edgeprune.compress(
        f"torchvision:{name}",
        "noise",
        input=(3, 224, 224),
        budget="50%",
        max_drop=100.0,
        train=False,
        **how,
    )


def signal(**how: Any) -> edgeprune.Finished:
    """A network along time that nobody has trained, to half of its time."""
    return edgeprune.compress(
        signal_net(), signals(), budget="50%", max_drop=100.0, **how
    )


RUNS: dict[str, Callable[..., edgeprune.Finished]] = {
    "signal": signal,
    "example": example,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "mobilenet_v2": lambda **how: large("mobilenet_v2", **how),
    "resnet50": lambda **how: large("resnet50", **how),
}


def once(name: str, out: str, device: str) -> None:
    """One run in this process."""
    how = {} if device == "cpu" else {"device": device}  # older code knows the CPU only
    RUNS[name](out=Path(out), **how)


def measured(name: str, folder: Path, cache: Path, code: Path, device: str) -> Row:
    """One run in a process of its own: its report, processor time and memory."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, __file__, name, str(folder), device],
        cwd=folder.parent,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (code, ROOT))),
            "EDGEPRUNE_CACHE": str(cache),
        },
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{name} ended with {child.returncode}")
    report = json.loads((folder / "report.json").read_text())
    result = report["result"]
    return {
        "seconds": time.perf_counter() - began,
        "stages": report["stage_seconds"],
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
        "status": report["status"],
        "latency_ratio": result["latency_ratio"],
        "accuracy": [report["baseline"]["test_accuracy"], result["test_accuracy"]],
    }


def main(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    code: Annotated[Path, typer.Option(help="A checkout.")] = ROOT,
    device: str = "cpu",
    again: bool = False,
) -> None:
    """Take the runs that are missing and write the table."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    commit = _git(code, "rev-parse", "--short", "HEAD")
    if _git(code, "status", "--porcelain", "--untracked-files=no", "edgeprune"):
        sys.exit(f"{code} has changes that are not committed: of which code is it?")
    for name in names or RUNS:
        key = f"{name} {device} {commit}"
        if key in rows and not again:
            continue
        with tempfile.TemporaryDirectory() as held:
            cache = Path(held) / "cache"
            empty, full = (
                measured(name, Path(held) / kind, cache, code.resolve(), device)
                for kind in ("empty", "full")
            )
        rows[key] = {
            **origin(),
            "run": name,
            "device": device,
            "commit": commit,
            "date": _git(code, "log", "-1", "--format=%cs"),
            "cores": os.cpu_count(),
            "empty": empty,
            "full": full,
        }
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
        print(f"{key}: {empty['seconds']:.0f} s, {full['seconds']:.0f} s", flush=True)
    TABLE.write_text(table(rows))


def _git(code: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(code), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    lines = [
        "# How long whole runs take",
        "",
        "Written by `python -m benchmarks.speed`; the runs are described there. Each "
        "is taken once with an empty cache and then with a full one, from the start of "
        "the process to its end; stages are of the first, in seconds. Time is a share "
        "of the original's, accuracy is on the test split.",
        "",
        "| run | device | commit | cores | empty cache, s | full, s | "
        + " | ".join(STAGES)
        + " | CPU s | GB | status | time | accuracy |",
        "|---" * (12 + len(STAGES)) + "|",
    ]
    order = list(RUNS)
    for row in sorted(rows.values(), key=lambda row: order.index(row["run"])):
        found = row["empty"]
        before, after = found["accuracy"]
        stages = (f"{found['stages'].get(stage, 0):.0f}" for stage in STAGES)
        lines.append(
            f"| {row['run']} | {row['device']} | {row['commit']} | {row['cores']} | "
            f"{found['seconds']:.0f} | {row['full']['seconds']:.0f} | "
            f"{' | '.join(stages)} | {found['cpu_seconds']:.0f} | "
            f"{found['peak_bytes'] / GIGABYTE:.1f} | {found['status']} | "
            f"{found['latency_ratio']:.1%} | {before:.2%} -> {after:.2%} |"
        )
    return "\n".join([*lines, *taken(rows), ""])


if __name__ == "__main__":
    typer.run(main)
