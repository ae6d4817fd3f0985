"""Which task it is: by name, or by what the outputs and the targets look like."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.tasks.agreement import Agreement, TopAgreement
from edgeprune.tasks.boxes import COLUMNS, Detection
from edgeprune.tasks.classes import (
    Classification,
    Multilabel,
    Segmentation,
    Sequence,
)
from edgeprune.tasks.points import Keypoints
from edgeprune.tasks.task import Task, shape_text
from edgeprune.tasks.values import Embedding, Image, Regression

PICTURE = 4  # axes of a batch
TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "segmentation": Segmentation,
    "detection": Detection,
    "keypoints": Keypoints,
    "sequence": Sequence,
    "image": Image,
    "embedding": Embedding,
    "regression": Regression,
}


def task_named(name: str) -> Task:
    """One of the tasks.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in TASKS:
        known = ", ".join(TASKS)
        message = f"Unknown task {name!r}: choose one of {known}, or give"
        raise ConfigError(f"{message} package.module:make_task.")
    return TASKS[name]()


def inferred(outputs: Any, targets: Tensor) -> Task:
    """The task that outputs and targets look like.

    Rows of five numbers are boxes. Class numbers of samples make a classification, of
    pixels a segmentation, of steps a sequence; targets of the shape of the outputs are
    labels, where they are 0 and 1 only, pictures or numbers.

    Args:
        outputs: of some samples, the first ones.
        targets: of as many, or more.

    Raises:
        WorkloadError: they look like none, or like two.
    """
    if not isinstance(outputs, Tensor):
        return Classification()  # which says what it found
    if are_boxes(targets):
        return Detection()
    whole = not targets.is_floating_point()
    binary = bool(((targets == 0) | (targets == 1)).all())
    if whole and (found := _of_classes(outputs, targets, binary)) is not None:
        return found
    targets = targets[: len(outputs)]
    if outputs.shape == targets.shape and outputs.ndim == PICTURE:
        return _of_pictures(targets, binary=binary)
    if binary and (found := _of_labels(outputs, targets)) is not None:
        return found
    if outputs.numel() == targets.numel() and not (whole and outputs.shape[1:]):
        return Regression()
    if outputs.ndim == 2 and targets.ndim == 1:
        return Classification()
    kind = str(targets.dtype).removeprefix("torch.")
    message = f"Outputs of {shape_text(outputs)} and {kind} targets of"
    message += f" {shape_text(targets)} fit no task that is known"
    hint = "" if whole else " (classes are whole numbers)"
    raise WorkloadError(f"{message}{hint}: say with --task what they are.")


def _of_pictures(targets: Tensor, *, binary: bool) -> Task:
    if binary:
        names = "segmentation" if targets.shape[1] == 1 else "multilabel"
        message = "Targets of 0 and 1 may be labels of pixels, or pictures: say"
        raise WorkloadError(f"{message} --task {names}, or --task image.")
    return Image()


def _of_labels(outputs: Tensor, targets: Tensor) -> Task | None:
    """The task of targets of 0 and 1, one or several of each sample."""
    if outputs.ndim <= 2 and outputs.numel() == targets.numel() == len(targets):
        if not targets.is_floating_point():
            return Classification()
        message = "Targets of 0.0 and 1.0 may be classes, or numbers: say"
        raise WorkloadError(f"{message} --task classification, or --task regression.")
    return (
        Multilabel() if outputs.shape == targets.shape and outputs.ndim == 2 else None
    )


def _of_classes(outputs: Tensor, targets: Tensor, binary: bool) -> Task | None:
    """The task of class numbers, by what there is one of."""
    if outputs.ndim == 3 and outputs.shape[1:2] == targets.shape[1:]:
        return Sequence()
    if targets.ndim == outputs.ndim - 1 and targets.ndim > 1:
        return Segmentation()
    one = targets.ndim == outputs.ndim > 3 and targets.shape[1] == 1
    if one and (outputs.shape[1] > 1 or binary):
        return Segmentation()
    if targets.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] > 1:
        return Classification()
    return None


def are_boxes(targets: Tensor) -> bool:
    """Whether targets are rows of boxes."""
    rows = targets.is_floating_point() and targets.ndim == 3
    return rows and targets.shape[2] == COLUMNS


def agreement_with(outputs: Any, *, labelled: bool) -> Task:
    """The task where the targets are what the original answers.

    Args:
        labelled: those of the training data are, too.
    """
    scores = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 1
    return TopAgreement(labelled=labelled) if scores else Agreement()


def one_hot(targets: Tensor) -> bool:
    """Whether each of several rows has one 1 and is 0 else."""
    rows = targets.ndim == 2 and len(targets) > 1 < targets.shape[1]
    return rows and bool(
        ((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all()
    )
