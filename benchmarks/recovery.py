"""What comes back after surgery: by statistics, by reconstruction, and by training.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.recovery run resnet56_cifar --speedup 2 --epochs 1 --epochs 5
    python -m benchmarks.recovery ablation  # half an hour: what in training helps
    python -m benchmarks.recovery int8 --speedup 3 --epochs 5  # --precision int8
    python -m benchmarks.recovery seconds   # how long reconstruction takes
    python -m benchmarks.recovery all       # hours: every network, speed-up and length

Each network is pruned by `edgeprune compress --no-train` to its own measured time over
the speed-up, and by Torch-Pruning (widths in steps of 4) as near to the same measured
time as its ratio leads; with `--low-rank planner` layers may be factored as well, and
with `--data noise` no image is looked at. The same loop then trains each for some
epochs, every length being a training of its own. Accuracies are on the test images; the
best epoch is chosen on 5000 images that are cut from the training images. ResNet's
published checkpoint was trained on these, too, which favours the start: it is kept
where no epoch is better. What is there is not done again; `--again` does. Writes
`recovery.json` and `recovery.md`.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer
from torch import nn

import edgeprune
from benchmarks.criteria import NETWORKS
from benchmarks.networks import torchvision_network
from benchmarks.peers import torch_pruning
from benchmarks.setting import Setting, final_share, setting
from edgeprune.data import Splits, TensorBatches
from edgeprune.data.augment import PHOTOS, Augmentation
from edgeprune.errors import EdgepruneError
from edgeprune.files import cache_folder
from edgeprune.finetune.loop import evaluate, train
from edgeprune.finetune.recipe import AVERAGE, Recipe
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.reconstruct.fitting import Fitting, reconstruct
from edgeprune.reconstruct.statistics import restated
from edgeprune.records import Plan

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "recovery.json", HERE / "recovery.md"
TRAINED = ("resnet56_cifar", "vgg16_cifar")
SPEEDUPS = (1.5, 2.0, 3.0)
LENGTHS = (1, 5, 20)
SEEDS = 3
STEP = 4  # channels, of Torch-Pruning's widths
RATIOS = tuple(round(0.1 + 0.1 * step, 1) for step in range(9))
HALVED = 4  # times, the gap between two of them
CLOSE = 0.02  # of the time: near enough

Row = dict[str, Any]
app = typer.Typer(help=__doc__, no_args_is_help=True)
Again = Annotated[bool, typer.Option("--again")]


@dataclass(frozen=True)
class Study:
    """A network with its data, profiled.

    Attributes:
        measured: by peer and ratio, the share of the time that is left.
    """

    name: str
    held: Setting
    data: Splits
    measured: dict[str, dict[str, float | None]]

    def untrained(self, model: nn.Module) -> Row:
        """As it is, and with statistics estimated anew."""
        return {
            "raw": self.tested(model),
            "restated": self.tested(restated(model, self.data.calibration)),
        }

    def trained(
        self, model: nn.Module, purpose: str, epochs: int, **change: Any
    ) -> Row:
        """Test accuracy after a training, and its number format.

        Args:
            change: of the recipe, which is that of `edgeprune compress`.
        """
        recipe = Recipe(
            purpose,
            epochs,
            optimizer="muon",
            teacher=self.held.model,
            hints=True,
            augment=Augmentation(PHOTOS),
            average=AVERAGE,
        )
        found, training = train(model, self.data, replace(recipe, **change))
        return {recipe.purpose: self.tested(found), "format": training.number_format}

    def tested(self, model: nn.Module) -> float:
        """Accuracy on the test images."""
        return evaluate(model, self.data.test)


@dataclass(frozen=True)
class Edgeprune:
    """The product, without labels and without training."""

    low_rank: str
    data: str = ""

    def prune(self, study: Study, share: float) -> tuple[nn.Module, Row]:
        """To a share of the time; the run's folder is kept."""
        name = f"{study.name}-{share:.3f}-{self.low_rank}{self.data}"
        folder = _kept(name)
        shutil.rmtree(folder, ignore_errors=True)
        done = edgeprune.compress(
            study.held.model,
            self.data or study.data,
            budget=f"{100 * share:.2f}%",
            accuracy_floor=0.0,
            input=study.data.sample_shape,
            low_rank=self.low_rank,
            train=False,
            out=folder,
        )
        row: Row = {"run": name, "reconstructed": study.tested(done.model)}
        if self.low_rank == "no" and len(done.report.plans) == 1:
            raw = apply(study.held.model, study.held.graph, done.report.plans[0])
            row |= study.untrained(raw)
        return done.model, row

    def again(self, study: Study, row: Row) -> nn.Module:
        """The same network, from the run's folder."""
        return edgeprune.load(
            _kept(row["run"]), lambda: copy.deepcopy(study.held.model)
        )


@dataclass(frozen=True)
class TorchPruning:
    """Channels ranked by an importance, all together or layer by layer."""

    importance: str
    together: bool

    def prune(self, study: Study, share: float) -> tuple[nn.Module, Row]:
        """The nearest that it comes to a share of the time.

        Its ratio and the time are in no simple relation: first a grid of ratios is
        measured, which is kept, then the gap around the wanted share halved.
        """
        grid = study.measured.setdefault(str(self), {})
        for ratio in RATIOS:
            if str(ratio) not in grid:
                grid[str(ratio)] = self.share(study, ratio)
        found = {float(ratio): value for ratio, value in grid.items() if value}

        def distance(ratio: float) -> float:
            return abs(found[ratio] / share - 1)

        for _ in range(HALVED):
            best = min(found, key=distance)
            across = [
                ratio
                for ratio, value in found.items()
                if (value > share) != (found[best] > share)
            ]
            if distance(best) < CLOSE or not across:
                break
            middle = (best + min(across, key=lambda ratio: abs(ratio - best))) / 2
            value = self.share(study, middle)
            if value is None:
                break
            found[middle] = value
        row: Row = {"ratio": min(found, key=distance)}
        model = self.again(study, row)
        return model, row | study.untrained(model)

    def share(self, study: Study, ratio: float) -> float | None:
        """Of the time, with a ratio; None where what it makes does not run."""
        try:
            return final_share(study.held, self.again(study, {"ratio": ratio}))
        except (RuntimeError, EdgepruneError) as error:
            print(f"{self} fails at {ratio}: {str(error)[:80]}", flush=True)
            return None

    def again(self, study: Study, row: Row) -> nn.Module:
        """What the ratio makes of the network."""
        prune = torch_pruning(self.importance, STEP, together=self.together)
        return prune(
            study.held.model, study.held.graph, row["ratio"], _Calibration(study.data)
        )


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


class _Calibration:
    """What Torch-Pruning reads of the data."""

    def __init__(self, data: Splits) -> None:
        assert isinstance(data.calibration, TensorBatches)  # as the study made it
        self.calibration = data.calibration.x, data.calibration.y


@app.command()
def run(
    name: str,
    speedup: float = 2.0,
    epochs: Annotated[list[int] | None, typer.Option()] = None,
    tool: Annotated[list[str] | None, typer.Option()] = None,
    *,
    again: Again = False,
) -> None:
    """One network at one speed-up."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows()
        study = _study(name, folder, rows)
        for chosen in tool or TOOLS:
            key = f"{name} {speedup:g} {chosen}"
            if again:
                rows["rows"].pop(key, None)
            model, row = _pruned(study, chosen, speedup, rows)
            for length in LENGTHS if epochs is None else epochs:
                purpose = f"epochs {length}"
                if purpose not in row:
                    row |= study.trained(model, purpose, length)
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
            print(arm, seed, found, flush=True)
            _write(rows)


@app.command()
def int8(name: str = "resnet56_cifar", speedup: float = 2.0, epochs: int = 0) -> None:
    """Where the int8 file is the one that counts."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows()
        study = _study(name, folder, rows)
        done = edgeprune.compress(
            study.held.model,
            study.data,
            budget=f"{100 / speedup:.2f}%",
            precision="int8",
            accuracy_floor=0.0,
            input=study.data.sample_shape,
            augment=",".join(PHOTOS),
            train=epochs > 0,
            epochs=epochs or None,
            out=_kept(f"{name}-{speedup:g}-int8-{epochs}"),
        )
        found, report = done.report.int8, done.report
        assert found is not None  # as it counts
        rows.setdefault("int8", {})[f"{name} {speedup:g} {epochs}"] = {
            "speedup": report.baseline.latency_ms / found.latency_ms,
            "pruned": report.baseline.latency_ms / report.result.latency_ms,
            "fp32": report.result.test_accuracy,
            "accuracy": found.test_accuracy,
        }
        print(rows["int8"], flush=True)
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
    }
    print(rows["seconds"][name])
    _write(rows)


@app.command(name="all")
def everything(*, again: Again = False) -> None:
    """All of them, the shorter trainings first."""
    for length in LENGTHS:
        for name in TRAINED:
            for speedup in SPEEDUPS:
                run(name, speedup, [length], again=again)


def _study(name: str, folder: str, rows: Row) -> Study:
    (model, inputs), data = NETWORKS[name]()
    measured = rows["shares"].setdefault(name, {})
    study = Study(name, setting(model, inputs, folder), data, measured)
    rows["baseline"][name] = study.tested(model)
    return study


def _pruned(
    study: Study, chosen: str, speedup: float, rows: Row
) -> tuple[nn.Module, Row]:
    """A tool's network; peers are to be as fast as what edgeprune has made."""
    tool, at = TOOLS[chosen], f"{study.name} {speedup:g}"
    row = rows["rows"].get(f"{at} {chosen}", {})
    if row and ("run" not in row or _kept(row["run"]).is_dir()):
        return tool.again(study, row), row
    share = 1 / speedup
    if isinstance(tool, TorchPruning):
        share = rows["rows"][f"{at} edgeprune"]["share"]
    model, row = tool.prune(study, share)
    share = final_share(study.held, model)
    row = {"share": share, "speedup": 1 / share, **row}
    _keep(rows, f"{at} {chosen}", row)
    return model, row


def _kept(name: str) -> Path:
    """Where a run's folder is kept."""
    return cache_folder() / "recovery" / name


def _rows() -> Row:
    if ROWS.is_file():
        return json.loads(ROWS.read_text())
    return {"baseline": {}, "shares": {}, "rows": {}, "ablation": {}, "seconds": {}}


def _keep(rows: Row, key: str, row: Row) -> None:
    rows["rows"][key] = row
    print(key, row, flush=True)
    _write(rows)


def _write(rows: Row) -> None:
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(_table(rows))


def _table(rows: Row) -> str:
    lengths = [f"epochs {length}" for length in LENGTHS]
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
                cells = [f"{row[one]:.2%}" if one in row else "" for one in stages]
                lines.append(
                    f"| {name} | {row['speedup']:.2f} | {tool} | {' | '.join(cells)} |"
                )
    if "int8" in rows:
        lines += _int8(rows["int8"])
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
    return "\n".join(lines) + "\n"


def _int8(held: dict[str, Row]) -> list[str]:
    """What `--precision int8` gives."""
    lines = [
        "",
        "## Where the int8 file is the one that counts",
        "",
        "`python -m benchmarks.recovery int8`: `--precision int8`; times are those of "
        "the original's fp32 file over those of the result's.",
        "",
        "| network | asked for | epochs | int8 file | its accuracy | fp32 file "
        "| its accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, row in held.items():
        name, asked, epochs = key.split()
        lines.append(
            f"| {name} | {asked}x | {epochs} | {row['speedup']:.2f}x | "
            f"{row['accuracy']:.2%} | {row['pruned']:.2f}x | {row['fp32']:.2%} |"
        )
    return lines


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
