"""How a model is trained, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from edgeprune.data.augment import Augmentation
from edgeprune.finetune.constraint import Constraint
from edgeprune.graph.device import CPU
from edgeprune.progress import SILENT, Progress
from edgeprune.settings import Optimizer
from edgeprune.tasks import Classification, Task

NO_CHANGES = Augmentation()
CLASSES = Classification()
AVERAGE = 0.1  # of all steps: what an average of the weights looks back over best


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        purpose: for the report.
        seconds: that training may take; it decides the number of epochs if given.
        momentum: of sgd and muon.
        average: share of all steps, 0..1, that an exponential average of the weights
            looks back over, which is what is judged and kept; 0 for none.
        teacher: distil from this model's outputs if given.
        hints: distil from its feature maps, too.
        inpaint: weight of a second head that fills in a region that is cut out; 0 for
            none.
        smoothing: of labels, where there is no teacher.
        augment: how training images are changed.
        enough: validation accuracy with which training ends early.
        accuracy: of the model on the validation split before it, if that is known: a
            training of no epochs need not read it again.
        floor: validation accuracy that is kept once it was reached.
        known: the model that training starts from may know the validation samples.
        constraint: what holds weights in shape meanwhile.
        device: to train on, where one process trains without a constraint.
        state: a file that the training is written to after every epoch, and goes on
            from if it is there.
        task: what is learnt and judged; that of the data set.
    """

    purpose: str = "finetune"
    epochs: int = 0
    seconds: float | None = None
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    seed: int = 0
    optimizer: Optimizer = "sgd"
    average: float = 0.0
    teacher: nn.Module | None = None
    hints: bool = False
    inpaint: float = 0.0
    smoothing: float = 0.0
    augment: Augmentation = NO_CHANGES
    enough: float | None = None
    accuracy: float | None = None
    floor: float = -math.inf
    known: bool = False
    constraint: Constraint | None = None
    device: torch.device = CPU
    state: Path | None = None
    progress: Progress = SILENT
    task: Task = CLASSES
