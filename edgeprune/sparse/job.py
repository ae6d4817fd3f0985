"""The job of a run that makes zeros, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.data import Splits
from edgeprune.devices.runner import Runner
from edgeprune.measure.benchmark import Exported
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    PairedTiming,
    Parity,
    PenaltyFound,
    Plan,
    SparseStep,
    Surgery,
    Training,
)
from edgeprune.settings import SparsifySettings
from edgeprune.workload import Workload


@dataclass(frozen=True)
class SparseJob:
    """The job of a run that makes zeros.

    Attributes:
        state: a folder where trainings are kept until the run is finished.
    """

    workload: Workload
    runner: Runner
    settings: SparsifySettings
    state: Path | None = None
    progress: Progress = SILENT

    @property
    def data(self) -> Splits:
        """The data set."""
        return self.workload.data

    @property
    def sparsity(self) -> float:
        """The share that is to be zero, 0..1."""
        assert self.settings.sparsity is not None  # checked
        return self.settings.sparsity


@dataclass(frozen=True)
class SparseOutcome:
    """The outcome; its files lie in the folder that the run was given.

    Attributes:
        met: as much is zero as was wanted, at or above the floor.
        reason: why not, if not.
        files: the baseline, the sparse network, and the smaller one if it was made.
        timings: of these, in turn with the baseline's.
        difference: largest one that the removal made to outputs, as a share of the
            largest output.
    """

    met: bool
    reason: str
    floor: float
    steps: tuple[SparseStep, ...]
    files: tuple[Exported, ...]
    timings: tuple[PairedTiming, ...]
    training: tuple[Training, ...]
    penalty: PenaltyFound | None
    removed: Plan | None
    surgery: Surgery
    difference: float | None
    parity: Parity
    notes: tuple[str, ...]
