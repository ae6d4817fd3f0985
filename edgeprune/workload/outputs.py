"""What a model returns: class scores, and how often they are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from edgeprune.data import Batches
from edgeprune.errors import WorkloadError


def accuracy(predict: Callable[[Tensor], Tensor], batches: Batches) -> float:
    """Share of samples whose largest output is at the label, 0..1.

    Args:
        predict: inputs (N, ...) to outputs (N, classes).

    Raises:
        WorkloadError: outputs that are not (N, classes), or too few classes.
    """
    right, seen = count_right(predict, batches)
    return right / max(seen, 1)


def count_right(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[int, int]:
    """Samples whose largest output is at the label, and all of them.

    Raises:
        WorkloadError: as of `accuracy`.
    """
    right = seen = 0
    with torch.no_grad():
        for x, y in batches:
            if not len(y):
                continue
            outputs = predict(x)
            check_outputs(outputs, y)
            right += int((outputs.argmax(1).cpu() == y).sum())
            seen += len(y)
    return right, seen


def check_outputs(outputs: object, labels: Tensor) -> None:
    """Refuse outputs that are no class scores for these labels.

    Raises:
        WorkloadError: what the model returned and what was expected.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = (
            f"shape {tuple(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__
        )
        message = (
            f"The model must return class scores of shape (N, classes), found {found}."
        )
        raise WorkloadError(message)
    if len(labels) and int(labels.max()) >= outputs.shape[1]:
        message = (
            f"The model has {outputs.shape[1]} outputs, the data have label "
            f"{int(labels.max())}: number the classes from 0 without gaps, or set "
            "--num-classes."
        )
        raise WorkloadError(message)
    if len(outputs) != len(labels):
        message = f"The model returns {len(outputs)} rows for {len(labels)} samples."
        raise WorkloadError(message)
