"""Scores of classes in the forms that networks give them in."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from edgeprune.tasks.task import Task

TINY = 1e-30  # of a probability: its logarithm is still a number
ROUNDED = 1e-7  # what a probability next to 1 is off it
OFF = 1e-3  # that probabilities of all classes may be from adding up to 1


class ClassScores(Task):
    """A task whose outputs are scores of classes.

    A network may end in a softmax or a sigmoid, and of two classes may give one score,
    that of the second.

    Attributes:
        probabilities: its outputs are what a softmax or a sigmoid gives.
        axis: of the classes.
        exclusive: of the classes there is one, so that probabilities add up to 1.
    """

    probabilities: bool = False
    axis: int = 1
    exclusive: bool = True

    def adapted(self, outputs: Tensor) -> Self:
        """For probabilities, where all outputs are some."""
        if not self._are_probabilities(outputs):
            return self
        found = copy.copy(self)
        found.probabilities = True
        return found

    def _are_probabilities(self, outputs: Tensor) -> bool:
        if not bool(((outputs >= 0) & (outputs <= 1)).all()):
            return False
        if not self.exclusive or outputs.shape[self.axis] == 1:
            return True
        return bool(((outputs.sum(self.axis) - 1).abs() <= OFF).all())

    def scores(self, outputs: Tensor) -> Tensor:
        """What a softmax, or of labels a sigmoid, makes probabilities of.

        Where one score tells two classes, that of the first is 0, or the opposite.
        """
        if not self.exclusive:
            return torch.logit(outputs, ROUNDED) if self.probabilities else outputs
        if outputs.shape[self.axis] == 1:
            first = 1 - outputs if self.probabilities else torch.zeros_like(outputs)
            outputs = torch.cat([first, outputs], self.axis)
        return outputs.clamp_min(TINY).log() if self.probabilities else outputs
