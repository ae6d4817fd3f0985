"""Agreement with the original: the task where there are no labels.

Targets are what the original network answers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeprune.metric import Metric
from edgeprune.settings import ALL_AUGMENTATIONS
from edgeprune.tasks.classes import Classification
from edgeprune.tasks.structure import tensors_in
from edgeprune.tasks.task import TINY, Task, same_shape, shape_text


class TopAgreement(Classification):
    """How often the largest score is where the original has it: outputs (N, classes).

    Targets are the numbers of these classes.

    Args:
        labelled: those of the training data are, too.
    """

    name = "agreement"
    metric = Metric("agreement")

    def __init__(self, *, labelled: bool = True) -> None:
        self.learns = labelled


class Agreement(Task):
    """The share of what varies in the original's outputs that is the same, 0..1.

    Of several outputs the mean of their shares. Each counts as one, however large its
    values are: 1 - sum (found - wanted)^2 / sum (wanted - mean)^2.
    """

    name = "agreement"
    metric = Metric("agreement")
    learns = False
    safe_augmentations = ALL_AUGMENTATIONS  # the original answers what was changed

    def check(self, outputs: Any, targets: Any) -> None:
        """The same outputs, of the same shapes."""
        pairs = tensors_in(outputs), tensors_in(targets)
        if len(pairs[0]) != len(pairs[1]):
            same_shape(shape_text(outputs), pairs[1][0], "outputs")
        for found, wanted in zip(*pairs, strict=True):
            same_shape(found, wanted, "outputs")

    def answers(self, outputs: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs.float()

    def tally(self, outputs: Any, targets: Any) -> Tensor:
        """Squared differences, values, their squares and number, output by output."""
        rows: list[Tensor] = []
        for found, wanted in zip(tensors_in(outputs), tensors_in(targets), strict=True):
            one, other = (item.detach().cpu().double() for item in (found, wanted))
            off, count = (one - other).square().sum(), other.new_tensor(other.numel())
            rows.append(torch.stack([off, other.sum(), other.square().sum(), count]))
        return torch.cat(rows)

    def value(self, sums: Tensor) -> float:
        """The mean over the outputs that vary."""
        shares: list[float] = []
        for off, once, squared, count in sums.reshape(-1, 4).tolist():
            variance = squared - once**2 / max(count, 1)
            if variance <= TINY * squared:  # it never varies: the same, or not
                shares.append(float(off <= TINY * max(squared, TINY)))
            else:
                shares.append(max(0.0, 1 - off / variance))
        return sum(shares) / max(len(shares), 1)
