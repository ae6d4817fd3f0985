"""What a run that makes zeros is asked for, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.config import MASKED, Method
from edgeprune.errors import ConfigError
from edgeprune.measure.bench import Exported
from edgeprune.measure.runner import Runner
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    Optimizer,
    Parity,
    PenaltyFound,
    Plan,
    SparseStep,
    Surgery,
    Timing,
    Training,
)
from edgeprune.workload import Workload

Regulariser = Literal["channels", "weights"]
ROUNDS = 3


@dataclass(frozen=True)
class SparseJob:
    """What is asked for.

    Attributes:
        sparsity: share that is to be zero, 0..1: of weights, or of channels where the
            method works on these.
        floor: from the baseline's validation accuracy to the lowest that is accepted.
        rounds: of masks, each with a training of its own.
        gradual: masks grow during one training instead.
        penalty: its weight; found on the way if None.
        regulariser: what prox-sg drives to zero.
        average: share of all steps that the exponential average of the weights looks
            back over, which is judged and kept; 0 for none.
        materialise: take out what is zero throughout, and train again.
        epochs: of each training; None lets the size of the data decide.
        state: a folder where trainings are kept until the run is finished.
    """

    workload: Workload
    runner: Runner
    method: Method
    sparsity: float
    floor: Callable[[float], float]
    rounds: int = ROUNDS
    gradual: bool = False
    penalty: float | None = None
    regulariser: Regulariser = "channels"
    optimizer: Optimizer = "sgd"
    average: float = 0.0
    materialise: bool = False
    epochs: int | None = None
    learning_rate: float = 0.02
    dynamic_batch: bool = False
    seed: int = 0
    state: Path | None = None
    progress: Progress = SILENT

    def shares(self, first: float) -> list[float]:
        """What is to be zero after each training, from a share that is zero already.

        Raises:
            ConfigError: more is zero already.
        """
        if first > self.sparsity:
            message = (
                f"{first:.1%} is zero already: give a larger --sparsity than "
                f"{self.sparsity:g}."
            )
            raise ConfigError(message)
        if self.gradual or self.method not in MASKED:
            return [self.sparsity]
        more = self.sparsity - first
        return [first + more * (at + 1) / self.rounds for at in range(self.rounds)]


@dataclass(frozen=True)
class SparseOutcome:
    """What came out; its files lie in the folder that the run was given.

    Attributes:
        met: as much is zero as was wanted, at or above the floor.
        reason: why not, if not.
        files: the baseline, the sparse network, and the smaller one if it was made.
        difference: largest one that the removal made to outputs, as a share of the
            largest output.
    """

    met: bool
    reason: str
    floor: float
    steps: tuple[SparseStep, ...]
    files: tuple[Exported, ...]
    timings: tuple[Timing, ...]
    training: tuple[Training, ...]
    penalty: PenaltyFound | None
    removed: Plan | None
    surgery: Surgery
    difference: float | None
    parity: Parity
    notes: tuple[str, ...]
