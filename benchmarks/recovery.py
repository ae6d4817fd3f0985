"""What comes back after surgery: by statistics, by reconstruction, and by training.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.recovery run resnet56_cifar --speedup 2 --epochs 1 --epochs 5
    python -m benchmarks.recovery ablation  # half an hour: what in training helps
    python -m benchmarks.recovery run resnet56_cifar --precision int8 --epochs 0
    python -m benchmarks.recovery seconds   # how long reconstruction takes
    python -m benchmarks.recovery all       # hours: every network, speed-up and length

Each network is pruned by `edgeprune compress --no-train` to its own measured time over
the speed-up, and by Torch-Pruning (widths in steps of 4) as near to the same measured
time as its ratio leads; with `--low-rank planner` layers may be factored as well, and
with `--data noise` no image is looked at. With `--precision int8` the quantised files
are what is timed and judged, of peers, too; a speed-up is over the original's file as
it is exported, in fp32, always. All others, of peers, too, have their shortcuts without
parameters as convolutions where that is faster. The same loop then trains each for some
epochs, every length being a training of its own, with `--seeds 3` three times.
Accuracies are on the test images; the epoch is chosen on 5000 images that are cut from
the training images. ResNet's published checkpoint was trained on these, too, which
favours the start: it is kept where no epoch is better. What is there is not done again;
`--again` does. Writes `recovery.json` and `recovery.md`.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer
from torch import nn

from benchmarks.criteria import NETWORKS
from benchmarks.networks import torchvision_network
from benchmarks.origin import origin, taken
from benchmarks.recovery_tools import Edgeprune, Row, Study, TorchPruning, kept_run
from benchmarks.setting import final_share, setting
from edgeprune.data.augment import Augmentation
from edgeprune.finetune.loop import evaluate
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.reconstruct.fitting import Fitting, reconstruct
from edgeprune.records import Plan

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "recovery.json", HERE / "recovery.md"
TRAINED = ("resnet56_cifar", "vgg16_cifar")
SPEEDUPS = (1.5, 2.0, 3.0)
LENGTHS = (1, 5, 20)
SEEDS = 3

app = typer.Typer(help=__doc__, no_args_is_help=True)
Again = Annotated[bool, typer.Option("--again")]
DEFAULT = "as `edgeprune compress` trains"
ARMS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "sgd in place of muon": {"optimizer": "sgd"},
    "outputs alone are distilled": {"hints": False},
    "labels alone": {"teacher": None},
    "no augmentation": {"augment": Augmentation()},
    "inpainting, too": {"inpaint": 0.1},
    "last weights": {"average": 0.0},
}
TOOLS = {
    "edgeprune": Edgeprune("no"),
    "edgeprune, factoring": Edgeprune("planner"),
    "edgeprune, no data": Edgeprune("no", data="noise"),
    "Torch-Pruning, L1": TorchPruning("L1", together=False),
    "Torch-Pruning, L1, global": TorchPruning("L1", together=True),
    "Torch-Pruning, Taylor": TorchPruning("Taylor", together=False),
    "Torch-Pruning, Taylor, global": TorchPruning("Taylor", together=True),
}


@app.command()
def run(  # noqa: PLR0913  options of a command
    name: str,
    speedup: float = 2.0,
    epochs: Annotated[list[int] | None, typer.Option()] = None,
    tool: Annotated[list[str] | None, typer.Option()] = None,
    precision: str = "fp32",
    seeds: int = 1,
    *,
    again: Again = False,
) -> None:
    """One network at one speed-up; with `--epochs 0` it is not trained."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows()
        study = _study(name, folder, rows, precision)
        for chosen in tool or TOOLS:
            key = _key(study, speedup, chosen)
            if again:
                rows["rows"].pop(key, None)
            model, row = _pruned(study, chosen, speedup, rows)
            lengths = [length for length in epochs or LENGTHS if length]
            for length, seed in itertools.product(lengths, range(seeds)):
                purpose = _training(length, seed)
                if purpose not in row:
                    row |= study.trained(model, purpose, length, seed=seed)
                    _keep(rows, key, row)


@app.command()
def ablation(
    name: str = "resnet20_cifar", speedup: float = 2.0, epochs: int = 1
) -> None:
    """What in training helps: the same network, the same epochs, several seeds."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows()
        study = _study(name, folder, rows)
        model, _ = _pruned(study, "edgeprune", speedup, rows)
        kept = rows["ablation"].setdefault(f"{name} {epochs}", {})
        for seed, (arm, change) in itertools.product(range(SEEDS), ARMS.items()):
            if str(seed) in (held := kept.setdefault(arm, {})):
                continue
            found = study.trained(model, arm, epochs, seed=seed, **change)
            held[str(seed)] = found[arm]
            rows["origins"][f"ablation {name} {epochs}"] = origin()
            print(arm, seed, found, flush=True)
            _write(rows)


@app.command()
def seconds(name: str = "resnet18", samples: int = 256) -> None:
    """How long reconstruction takes at 224x224, half of each group gone."""
    model, inputs = torchvision_network(name)
    graph = survey(model, inputs)
    plan = Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})
    smaller, surgery = apply(model, graph, plan), plan_surgery(model, graph, plan)
    data = [
        (torch.randn(64, 3, 224, 224), torch.zeros(64)) for _ in range(samples // 64)
    ]
    rows, began = _rows(), time.perf_counter()
    found = reconstruct(model, smaller, surgery, data, Fitting(samples=samples))
    spent = time.perf_counter() - began
    rows["seconds"][name] = {
        "seconds": spent,
        "samples": found.samples,
        "layers": found.layers,
        "threads": torch.get_num_threads(),
        **origin(),
    }
    print(rows["seconds"][name])
    _write(rows)


@app.command(name="all")
def everything(*, again: Again = False) -> None:
    """All of them, the shorter trainings first."""
    for length in LENGTHS:
        for name in TRAINED:
            for speedup in SPEEDUPS:
                run(name, speedup, [length], again=again and length == LENGTHS[0])


def _study(name: str, folder: str, rows: Row, precision: str = "fp32") -> Study:
    (model, inputs), data = NETWORKS[name]()
    held, key = setting(model, inputs, folder), name
    rows["baseline"][name] = evaluate(model, data.test)
    if precision == "int8":
        key = f"{name} int8"
        quantizing = replace(held.benchmark, calibration=data.calibration)
        held.evaluator = replace(held.evaluator, benchmark=quantizing)
    measured = rows["shares"].setdefault(key, {})
    return Study(name, held, data, precision, measured)


def _key(study: Study, speedup: float, chosen: str) -> str:
    where = "" if study.precision == "fp32" else f", {study.precision}"
    return f"{study.name} {speedup:g} {chosen}{where}"


def _pruned(
    study: Study, chosen: str, speedup: float, rows: Row
) -> tuple[nn.Module, Row]:
    """A tool's network; peers are to be as fast as what edgeprune has made."""
    tool, key = TOOLS[chosen], _key(study, speedup, chosen)
    row = rows["rows"].get(key, {})
    if row and ("run" not in row or kept_run(row["run"]).is_dir()):
        return tool.again(study, row), row
    share = 1 / speedup
    if isinstance(tool, TorchPruning):
        share = rows["rows"][_key(study, speedup, "edgeprune")]["share"]
    model, row = tool.prune(study, share)
    share = final_share(study.held, model)
    row = {"share": share, "speedup": 1 / share, **row, **origin()}
    _keep(rows, key, row)
    return model, row


def _rows() -> Row:
    parts = ("baseline", "shares", "rows", "ablation", "seconds", "origins")
    held = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    return {**{part: {} for part in parts}, **held}


def _keep(rows: Row, key: str, row: Row) -> None:
    rows["rows"][key] = row
    print(key, row, flush=True)
    _write(rows)


def _write(rows: Row) -> None:
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(_table(rows))


def _training(length: int, seed: int) -> str:
    """What the accuracy after it is kept as."""
    return f"epochs {length}" + (f", seed {seed}" if seed else "")


def _cell(row: Row, stage: str) -> str:
    """An accuracy; after trainings with several seeds, all of them."""
    found = [row[key] for key in row if key == stage or key.startswith(f"{stage},")]
    return ", ".join(f"{value:.2%}" for value in found)


def _table(rows: Row) -> str:
    lengths = [_training(length, 0) for length in LENGTHS]
    stages = ["raw", "restated", "reconstructed", *lengths]
    lines = [
        "# What comes back after surgery",
        "",
        "`python -m benchmarks.recovery all`; accuracies on the test images, in %. "
        f"{rows.get('remark', '')}",
        "",
        "| network | speed-up measured | tool | as it is | batch norms estimated anew "
        "| reconstructed | 1 epoch | 5 epochs | 20 epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in rows["baseline"].items():
        lines.append(f"| {name} | 1 | none | {found:.2%} | | | | | |")
        for key, row in rows["rows"].items():
            if key.startswith(f"{name} "):
                tool = key.split(" ", 2)[2]
                cells = [_cell(row, one) for one in stages]
                lines.append(
                    f"| {name} | {row['speedup']:.2f} | {tool} | {' | '.join(cells)} |"
                )
    for name, row in rows["seconds"].items():
        lines += [
            "",
            f"Reconstruction of {name} at 224x224, half of each group gone, "
            f"{row['samples']} samples, {row['layers']} layers, {row['threads']} "
            f"threads: {row['seconds']:.0f} s "
            "(`python -m benchmarks.recovery seconds`).",
        ]
    for study, arms in rows["ablation"].items():
        lines += _ablation(*study.split(" "), arms)
    return "\n".join([*lines, *taken(rows), ""])


def _ablation(name: str, epochs: str, arms: dict[str, dict[str, float]]) -> list[str]:
    """Each arm's mean, and how it did beside the first one, seed by seed."""
    lines = [
        "",
        f"## What in training helps: {name} at half of its time, epochs: {epochs}",
        "",
        "`python -m benchmarks.recovery ablation`; the test accuracy of each seed, and "
        "the mean difference from the first row with its range over the seeds.",
        "",
        "| training | seeds, % | mean, % | difference, points |",
        "|---|---|---|---|",
    ]
    for arm, found in arms.items():
        gaps = [
            100 * (value - arms[DEFAULT][seed])
            for seed, value in found.items()
            if seed in arms[DEFAULT]
        ]
        seeds = ", ".join(f"{value:.2%}"[:-1] for value in found.values())
        mean = 100 * sum(found.values()) / len(found)
        gap = f"{sum(gaps) / len(gaps):+.2f} ({min(gaps):+.2f} to {max(gaps):+.2f})"
        lines.append(f"| {arm} | {seeds} | {mean:.2f} | {gap} |")
    return lines


if __name__ == "__main__":
    app()
