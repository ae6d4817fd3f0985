"""What is compared in the study of recovery: edgeprune, and peers at its time."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

import edgeprune
from benchmarks.peers import torch_pruning
from benchmarks.setting import Setting, final_share
from edgeprune.data import Splits, TensorBatches
from edgeprune.data.augment import PHOTOS, Augmentation
from edgeprune.errors import EdgepruneError
from edgeprune.export import deliver
from edgeprune.files import cache_folder
from edgeprune.finetune.config import AVERAGE, TrainingConfig
from edgeprune.finetune.loop import evaluate, train
from edgeprune.graph.surgery import apply
from edgeprune.reconstruct.statistics import restated

STEP = 4  # channels, of Torch-Pruning's widths
RATIOS = tuple(round(0.1 + 0.1 * step, 1) for step in range(9))
HALVED = 4  # times, the gap between two of them
CLOSE = 0.02  # of the time: near enough

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A network with its data, profiled.

    Attributes:
        held: its benchmark quantizes each file where the int8 one is what counts.
        measured: by peer and ratio, the share of the time that is left.
    """

    name: str
    held: Setting
    data: Splits
    precision: str
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
        recipe = TrainingConfig(
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
        """Accuracy on the test images, in the precision that counts."""
        if self.precision == "fp32":
            return evaluate(model, self.data.test)
        exported = self.held.benchmark.export(model, "tested")
        return deliver.tested_accuracy(exported.path, self.data)


@dataclass(frozen=True)
class Edgeprune:
    """The product, without labels and without training."""

    low_rank: str
    data: str = ""

    def prune(self, study: Study, share: float) -> tuple[nn.Module, Row]:
        """To a share of the time; the run's folder is kept."""
        name = f"{study.name}-{share:.3f}-{self.low_rank}{self.data}"
        name += "" if study.precision == "fp32" else f"-{study.precision}"
        folder = kept_run(name)
        shutil.rmtree(folder, ignore_errors=True)
        done = edgeprune.compress(
            study.held.model,
            self.data or study.data,
            budget=f"{100 * share:.2f}%",
            precision=study.precision,
            accuracy_floor=0.0,
            input=study.data.sample_shape,
            low_rank=self.low_rank,
            train=False,
            out=folder,
        )
        if study.precision == "int8":
            file = folder / done.report.counted.file  # ranges are of the run's data
            found = deliver.tested_accuracy(file, study.data)
        else:
            found = study.tested(done.model)
        row: Row = {"run": name, "reconstructed": found}
        if self.low_rank == "no" and len(done.report.plans) == 1:
            raw = apply(study.held.model, study.held.graph, done.report.plans[0])
            row |= study.untrained(raw)
        return done.model, row

    def again(self, study: Study, row: Row) -> nn.Module:
        """The same network, from the run's folder."""
        return edgeprune.load(
            kept_run(row["run"]), lambda: copy.deepcopy(study.held.model)
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


class _Calibration:
    """What Torch-Pruning reads of the data."""

    def __init__(self, data: Splits) -> None:
        assert isinstance(data.calibration, TensorBatches)  # as the study made it
        self.calibration = data.calibration.x, data.calibration.y


def kept_run(name: str) -> Path:
    """Where a run's folder is kept."""
    return cache_folder() / "recovery" / name
