"""Losses: errors against targets, and differences from a teacher."""

from __future__ import annotations

from torch import Tensor

from edgeprune.errors import WorkloadError
from edgeprune.tasks import Task, scalar_loss

DISTILLED_SHARE = 0.7  # of the loss; the rest is what the task learns by


def loss_of(
    task: Task, outputs: Tensor, y: Tensor, soft: Tensor | None, smoothing: float = 0.0
) -> Tensor:
    """The task's loss, mixed with how far outputs are from the teacher's.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015. Labels are
    smoothed only where there is no teacher: it tells how alike classes are, which
    smoothing rubs out; Mueller et al., "When Does Label Smoothing Help?", 2019.

    Args:
        outputs: shape (N, ...), as is `soft`.
        smoothing: share of each label that is spread over all classes.

    Raises:
        WorkloadError: there is nothing to learn from.
    """
    smooth = smoothing if soft is None else 0.0
    hard = scalar_loss(task, outputs, y, smooth) if task.learns else None
    if soft is None and hard is None:
        message = f"{task.name} has no targets to learn by: --distil no does not go"
        raise WorkloadError(f"{message} with it.")
    if soft is None or hard is None:
        return task.distilled(outputs, soft) if hard is None else hard
    taught = task.distilled(outputs, soft)
    return (1 - DISTILLED_SHARE) * hard + DISTILLED_SHARE * taught


def masked_mean_square(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean square difference where a mask is.

    Args:
        found, wanted: shape (N, channels, H, W).
        mask: shape (N, 1, H, W).
    """
    squares = (found - wanted).square() * mask
    return squares.sum() / (mask.sum() * found.shape[1]).clamp_min(1)
