"""The job of a run, the snapshots that it passes on, and its outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from edgeprune.data import Splits
from edgeprune.data.augment import check_augmentation
from edgeprune.devices.runner import Runner
from edgeprune.errors import EdgepruneError, WorkloadError
from edgeprune.export import deliver
from edgeprune.finetune.feature_maps import last_feature_map
from edgeprune.finetune.fresh import fresh
from edgeprune.graph.device import device_named
from edgeprune.graph.region import Region
from edgeprune.measure.benchmark import Exported
from edgeprune.profile.network import Profile
from edgeprune.progress import LOGGER, SILENT, Progress
from edgeprune.records import (
    UNPRUNED,
    AccuracyLoss,
    Attempt,
    Budget,
    LatencySummary,
    MeasuredCosts,
    ModelFigures,
    PairedTiming,
    Parity,
    Plan,
    Reconstruction,
    Scores,
    Sensitivity,
    Spectra,
    Step,
    Surgery,
    Sustained,
    Training,
)
from edgeprune.score.two_step import parse_criteria
from edgeprune.settings import CompressSettings
from edgeprune.workload import Workload, check_weights

RUN_ID = 16  # characters


@dataclass(frozen=True)
class Job:
    """The job of a run.

    Attributes:
        state: a folder where rounds are kept until the run is finished; None keeps
            nothing.
    """

    workload: Workload
    runner: Runner
    settings: CompressSettings
    state: Path | None = None
    progress: Progress = SILENT

    @property
    def data(self) -> Splits:
        """The data set."""
        return self.workload.data

    @property
    def run_id(self) -> str:
        """The same for the same network, data and settings; empty if none is kept."""
        return "" if self.state is None else self.state.name[:RUN_ID]

    @property
    def region(self) -> Region:
        """What of the network may change."""
        return Region.of(self.settings.only, self.settings.keep)

    @cached_property
    def device(self) -> torch.device:
        """Where networks run while nothing is timed."""
        return device_named(self.settings.device)


@dataclass(frozen=True)
class ModelSnapshot:
    """A network on its way: the baseline, or what a round has made of it.

    All is said of the deployed file, which may be the int8 one.

    Attributes:
        paired: the timing of that file, in turn with the baseline's.
        costs: what it takes of a budget.
        surgery: from the module that the run was given to this one.
    """

    exported: Exported
    figures: ModelFigures
    paired: PairedTiming
    costs: MeasuredCosts
    plans: tuple[Plan, ...] = ()
    surgery: Surgery = field(default_factory=Surgery)

    @property
    def model(self) -> nn.Module:
        """Its module."""
        return self.exported.model

    @property
    def accuracy(self) -> float:
        """On the validation split, 0..1."""
        return self.figures.validation_accuracy or 0.0


@dataclass
class RunLog:
    """Collects the findings of a run for its report."""

    attempts: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    reconstructions: list[Reconstruction] = field(default_factory=list)
    training: list[Training] = field(default_factory=list)
    scores: Scores | None = None
    sensitivity: Sensitivity | None = None
    spectra: Spectra | None = None
    latency_model: LatencySummary | None = None
    sustained: Sustained | None = None
    against_int8: str = ""  # why the original's int8 file is below the floor
    notes: list[str] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def round_number(self) -> int:
        """The number of the next round, from 1 on."""
        return 1 + sum(step.name not in UNPRUNED for step in self.steps)

    def note(self, *notes: str) -> None:
        """Add what a reader should know, each sentence once."""
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)
                LOGGER.info("note: %s", note)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add up the time spent in a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = self.stage_seconds.get(name, 0.0) + time.perf_counter() - start
            self.stage_seconds[name] = spent


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run; its files lie in the folder that the run was given.

    Attributes:
        met: all budgets are met at or above the floor.
        budget: the upper limits.
        reason: why it ended.
        result: in fp32.
        judged: the costs of the deployed file, by which `met` was decided.
        known: the original may have been trained on the validation samples.
        in_int8: the deployed file is the int8 one.
        untimed: it is to go on once somebody has timed the result on the device.
        on_device: the device's answers beside those here; none where it is this one.
    """

    met: bool
    budget: Budget
    reason: str
    floor: float
    profile: Profile
    baseline: ModelSnapshot
    result: ModelSnapshot
    judged: MeasuredCosts
    int8: deliver.Int8
    parity: tuple[Parity, ...]
    test_loss: AccuracyLoss
    known: bool
    log: RunLog
    in_int8: bool = False
    untimed: bool = False
    on_device: tuple[Parity, ...] = ()


def check_job(workload: Workload, settings: CompressSettings) -> None:
    """Refuse what can be refused before any work.

    Raises:
        ScoreError: an unknown criterion.
        ConfigError: a floor of another metric.
        WorkloadError: weights that are not finite, or that cannot be drawn anew; a
            feature map is needed, and there is none; targets cannot be changed with
            their images.
    """
    model = workload.model
    parse_criteria(settings.criterion)
    settings.floor(0.0, workload.data.task.metric)
    if settings.from_scratch:
        fresh(model, settings.seed)
    check_weights(model)
    frozen = not any(item.requires_grad for item in model.parameters())
    if settings.train and frozen and settings.epochs != 0:
        message = "No parameter of the model is trained: all have requires_grad=False"
        raise WorkloadError(f"{message}. Unfreeze them, or give --no-train.")
    if settings.train and settings.self_supervised == "inpaint":
        _check_feature_map(workload)
    if settings.train and settings.augment:
        check_augmentation(workload.data, settings.augment)


def _check_feature_map(workload: Workload) -> None:
    try:
        last_feature_map(workload.model, workload.inputs[0])
    except EdgepruneError:
        raise
    except Exception:  # noqa: BLE001  the trace, which comes next, explains it
        return
