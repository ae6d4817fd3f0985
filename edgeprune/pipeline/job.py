"""What a run is asked for, the state that it passes on, and what it returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeprune.errors import EdgepruneError
from edgeprune.export import deliver
from edgeprune.finetune.feature_maps import last_feature_map
from edgeprune.finetune.fresh import fresh
from edgeprune.finetune.recipe import Recipe
from edgeprune.measure.bench import Exported
from edgeprune.measure.runner import Runner
from edgeprune.profile.network import Profile
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    UNPRUNED,
    Attempt,
    Budget,
    Costs,
    LatencySummary,
    ModelFigures,
    Optimizer,
    Parity,
    Plan,
    Reconstruction,
    Scores,
    Sensitivity,
    Spectra,
    Step,
    Surgery,
    Timing,
    Training,
)
from edgeprune.score.two_step import parse_criteria
from edgeprune.workload import Workload, check_weights

Structure = Literal["solver", "pca"]
LowRank = Literal["no", "planner", "bayes"]
Grows = Literal["no", "wider", "both"]
Distil = Literal["logits", "features", "no"]
Counted = Literal["fp32", "int8"]


@dataclass(frozen=True)
class Job:
    """What a run is asked for.

    Attributes:
        budget: from what the baseline costs to the upper limits.
        floor: from the baseline's validation accuracy to the lowest that is accepted.
        structure: who chooses widths and blocks.
        variance: that principal components are to explain; None lets the budget decide.
        from_scratch: train the pruned shape anew, from fresh weights.
        ungrouped: look at the activations of a copy whose grouped convolutions are
            dense, after training it.
        growth: what follows when the budget is met: nothing, wider groups where there
            is room, or wider and narrower ones until the shape settles.
        low_rank: layers may be factored: not at all, with ranks that the planner
            chooses, or with those of variational Bayes.
        epochs: for each round; None lets the size of the data decide.
        minutes: for all training together, in place of epochs.
        state: a folder where rounds are kept until the run is finished.
        recipe: how to train, but for what each round knows itself.
        distil: what is learnt from the original.
        optimizer: None leaves the choice to the kind of training.
        until_floor: without a budget, prune as far as the floor lets.
        stop_at_floor: each training ends as soon as the floor is reached.
        precisions: of files that the target runs.
        precision: of the file that budget and floor are about.
    """

    workload: Workload
    runner: Runner
    budget: Callable[[Costs], Budget]
    floor: Callable[[float], float]
    criterion: str = "l1"
    structure: Structure = "solver"
    variance: float | None = None
    from_scratch: bool = False
    ungrouped: bool = False
    growth: Grows = "no"
    low_rank: LowRank = "no"
    reconstruct: bool = True
    train: bool = True
    epochs: int | None = None
    minutes: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    state: Path | None = None
    distil: Distil = "features"
    optimizer: Optimizer | None = None
    until_floor: bool = False
    stop_at_floor: bool = False
    dynamic_batch: bool = False
    precisions: tuple[str, ...] = ("fp32", "int8")
    precision: Counted = "fp32"
    seed: int = 0
    progress: Progress = SILENT


@dataclass(frozen=True)
class State:
    """A network on its way: the baseline, or what a round has made of it.

    All is said of the file that counts, which may be the int8 one.

    Attributes:
        beside: the baseline's timing from the measurement that timed this one.
        surgery: from the module that the run was given to this one.
    """

    exported: Exported
    figures: ModelFigures
    beside: Timing
    plans: tuple[Plan, ...] = ()
    surgery: Surgery = field(default_factory=Surgery)


@dataclass
class Journal:
    """What a run has found so far, for the report."""

    attempts: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    reconstructions: list[Reconstruction] = field(default_factory=list)
    training: list[Training] = field(default_factory=list)
    scores: Scores | None = None
    sensitivity: Sensitivity | None = None
    spectra: Spectra | None = None
    latency_model: LatencySummary | None = None
    notes: list[str] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of the next round, from 1 on."""
        return 1 + sum(step.name not in UNPRUNED for step in self.steps)

    def note(self, *notes: str) -> None:
        """What a reader should know, each sentence once."""
        self.notes += [note for note in notes if note not in self.notes]

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
    """What a run returns; its files lie in the folder that it was given.

    Attributes:
        met: all budgets are met at or above the floor.
        budget: the upper limits.
        reason: why it ended.
        result: in fp32.
    """

    met: bool
    budget: Budget
    reason: str
    floor: float
    profile: Profile
    baseline: State
    result: State
    int8: deliver.Int8
    parity: tuple[Parity, ...]
    journal: Journal


def check_job(job: Job) -> None:
    """Refuse what can be refused before any work.

    Raises:
        ScoreError: an unknown criterion.
        WorkloadError: weights that are not finite, or that cannot be drawn anew; a
            feature map is needed, and there is none.
    """
    parse_criteria(job.criterion)
    if job.from_scratch:
        fresh(job.workload.model, job.seed)
    check_weights(job.workload.model)
    if job.train and job.recipe.inpaint:
        _check_feature_map(job.workload)


def _check_feature_map(workload: Workload) -> None:
    try:
        last_feature_map(workload.model, workload.inputs[0])
    except EdgepruneError:
        raise
    except Exception:  # noqa: BLE001  the trace, which comes next, explains it
        return
