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
    return share(right_answers(predict, batches))


def share(right: Tensor) -> float:
    """The share of True, 0..1; 0 of nothing."""
    return float(right.double().mean()) if len(right) else 0.0


def right_answers(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> Tensor:
    """Whether the largest output is at the label, for each sample, bool (N,).

    Raises:
        WorkloadError: as of `accuracy`.
    """
    right = [torch.zeros(0, dtype=torch.bool)]
    with torch.no_grad():
        for x, y in batches:
            if not len(y):
                continue
            outputs = predict(x)
            check_outputs(outputs, y)
            right.append(outputs.argmax(1).cpu() == y)
    return torch.cat(right)


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
