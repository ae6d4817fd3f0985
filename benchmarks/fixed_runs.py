"""Five whole runs that must come out the same before a change of the code and after it.

    python -m benchmarks.fixed_runs take before.json     # on the old state
    python -m benchmarks.fixed_runs take after.json      # on the new one, same machine
    python -m benchmarks.fixed_runs compare before.json after.json

Times come from the made-up device, training runs in float32, and as many samples are
judged on a fast machine as on a slow one, so that plans, widths, zeros and accuracies
depend on the code alone. ResNet-20 and the signals are real ones
(see `networks.data_folder`). `take` writes a run as soon as it is done and does not
repeat it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import typer
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from benchmarks.networks import cifar10, cifar_resnet20, data_folder
from edgeprune import cli
from edgeprune.finetune import formats
from edgeprune.records import Plan, RunReport, SparsityReport
from edgeprune.score import sensitivity

HERE = Path(__file__).parent
DEVICE = str(HERE.parent / "tests" / "fake.toml")
SAMPLES = (2000, 1000, 2000)  # of CIFAR-10, for training, validation and testing
SIGNALS = "JapaneseVowels"
JUDGED = 64  # samples, whatever time they take
Found = dict[str, Any]
Parts = tuple[TensorDataset, ...]

app = typer.Typer(help=__doc__, no_args_is_help=True)


def images() -> Parts:
    """A part of CIFAR-10, normalised as the published ResNets take it."""
    held = cifar10((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    splits = (held.train, held.validation, held.test)
    return tuple(
        TensorDataset(x[:count], y[:count])
        for (x, y), count in zip(splits, SAMPLES, strict=True)
    )


def signals() -> Parts:
    """Speakers by what they say: 12 channels, 25 steps, 9 classes."""
    held = np.load(data_folder() / "timeseries" / f"{SIGNALS}.npz")
    train, test = (
        (
            torch.from_numpy(held[f"x_{part}"]).float(),
            torch.from_numpy(held[f"y_{part}"]),
        )
        for part in ("train", "test")
    )
    return (
        TensorDataset(train[0][::2], train[1][::2].long()),
        TensorDataset(train[0][1::2], train[1][1::2].long()),
        TensorDataset(test[0], test[1].long()),
    )


def signal_net() -> nn.Module:
    """Three convolutions along time."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv1d(12, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.Conv1d(64, 96, 3, padding=1), nn.BatchNorm1d(96), nn.ReLU()),
        *(nn.Conv1d(96, 64, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 9)),
    )


def example(out: Path) -> Found:
    """The embedded example from the command line, to four fifths of its time."""
    arguments = [
        "compress",
        "--budget-ms",
        "80%",
        "--epochs",
        "3",
        "--quiet",
        "--precision",
        "fp32",
    ]
    sys.argv = ["edgeprune", *arguments, "--target", DEVICE, "--out", str(out)]
    with suppress(SystemExit):
        cli.main()
    return of_run(edgeprune.read_report(out))


def resnet20(out: Path) -> Found:
    """Half of the time, layers fitted, one epoch."""
    model, _ = cifar_resnet20()
    done = edgeprune.compress(
        model,
        images(),
        budget="50%",
        max_drop=100.0,
        epochs=1,
        precision="fp32",
        target=DEVICE,
        out=out,
    )
    return of_run(done.report)


def signal(out: Path) -> Found:
    """A network along time, in two rounds."""
    done = edgeprune.compress(
        signal_net(),
        signals(),
        budget={"budget_ms": "40%", "max_params": "60%"},
        max_drop=100.0,
        epochs=4,
        criterion="taylor,obd",
        precision="fp32",
        target=DEVICE,
        out=out,
    )
    return of_run(done.report)


def pca(out: Path) -> Found:
    """Widths and depth by principal components."""
    model, _ = cifar_resnet20()
    done = edgeprune.compress(
        model,
        images(),
        structure="pca",
        variance=0.95,
        max_drop=100.0,
        epochs=1,
        precision="fp32",
        target=DEVICE,
        out=out,
    )
    return of_run(done.report)


def sparsify(out: Path) -> Found:
    """Half of the channels zero by proximal steps, then removed."""
    done = edgeprune.sparsify(
        signal_net(),
        signals(),
        method="prox-sg",
        sparsity=0.5,
        materialise=True,
        epochs=12,
        max_drop=100.0,
        target=DEVICE,
        out=out,
    )
    return of_zeros(done.report)


RUNS: dict[str, Callable[[Path], Found]] = {
    "signal": signal,
    "sparsify": sparsify,
    "pca": pca,
    "resnet20": resnet20,
    "example": example,
}


def of_run(report: RunReport) -> Found:
    """What must be the same of a run of `compress`."""
    return {
        "status": report.status,
        "plans": [of_plan(plan) for plan in report.plans],
        "attempts": [dict(sorted(item.widths.items())) for item in report.attempts],
        "steps": [
            [step.name, step.accuracy_before_training, step.validation_accuracy]
            for step in report.steps
        ],
        "macs": report.result.macs,
        "test_accuracy": report.result.test_accuracy,
    }


def of_zeros(report: SparsityReport) -> Found:
    """What must be the same of a run of `sparsify`."""
    return {
        "status": report.status,
        "removed": of_plan(report.removed or Plan({})),
        "steps": [
            [step.name, step.sparsity.overall, step.validation_accuracy, step.macs]
            for step in report.steps
        ],
        "test_accuracy": report.steps[-1].test_accuracy,
    }


def of_plan(plan: Plan) -> Found:
    """Widths, blocks, and a fingerprint of the channels that stay."""
    kept = {name: list(held) for name, held in sorted(plan.kept.items())}
    return {
        "widths": {name: len(held) for name, held in kept.items()},
        "bypassed": list(plan.bypassed),
        "channels": hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16],
    }


def in_float32(*_: object) -> formats.Format:
    """In place of timing a few steps, which may come out otherwise next time."""
    return formats.PLAIN


@app.command()
def take(path: Path) -> None:
    """Run all five and write what came of them."""
    formats.measured_format = in_float32
    sensitivity.FEWEST = sensitivity.MOST = JUDGED
    found = json.loads(path.read_text()) if path.is_file() else {}
    for name, run in RUNS.items():
        if name in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.environ["EDGEPRUNE_CACHE"] = f"{folder}/cache"
            found[name] = run(Path(folder) / "run")
        print(f"{name}: {found[name]['status']}", flush=True)
        path.write_text(json.dumps(found, indent=1))


@app.command()
def compare(before: Path, after: Path) -> None:
    """Say what differs; exit 1 if anything does."""
    first, second = (json.loads(path.read_text()) for path in (before, after))
    unlike = 0
    for name in RUNS:
        for key in first[name]:
            same = first[name][key] == second[name][key]
            unlike += not same
            print(f"{name}, {key}: {'the same' if same else 'differs'}")
    sys.exit(unlike > 0)


if __name__ == "__main__":
    app()
