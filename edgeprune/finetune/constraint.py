"""Constraints that hold weights in shape while the loop trains them.

The loop asks at fixed places of every step and knows nothing of masks or penalties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer


class Constraint:
    """Holds nothing; others override what they need.

    Attributes:
        settled: whether what it is after is reached: only epochs that end so are
            compared by their accuracy.
    """

    settled: bool = True

    def begin(self, network: nn.Module, optimizer: Optimizer, steps: int) -> None:
        """Before the first of so many steps."""

    def before_forward(self) -> None:
        """Before the loss is computed."""

    def after_backward(self) -> None:
        """When gradients are there."""

    def after_step(self) -> None:
        """When the optimiser has changed the weights."""

    def finish(self) -> None:
        """After the last step, if there were fewer of them than were announced."""

    def apply_(self, model: nn.Module) -> None:
        """Impose on a copy of the network what holds for it, as on an average."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors from which a training can be resumed."""
        return {}

    def restore_(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""


@dataclass(frozen=True)
class Schedule:
    """A share that rises during training along a cubic, fast first.

    Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.

    Attributes:
        first: the share at the beginning.
        final: the share from `until` on.
        until: share of the training, 0..1; 0 has the final share from the first step.
    """

    final: float
    first: float = 0.0
    until: float = 0.7

    def at(self, progress: float) -> float:
        """The share when so much of the training is over, 0..1."""
        if progress >= self.until:
            return self.final
        left = (1 - progress / self.until) ** 3
        return self.final + (self.first - self.final) * left
