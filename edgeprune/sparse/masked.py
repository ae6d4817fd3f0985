"""Weights that are zero and stay zero, however the others are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.finetune.constraint import Constraint, Schedule

Masks = Mapping[str, Tensor]  # by parameter, of its shape: True is trained
Choose = Callable[[nn.Module, float], Masks]  # masks by a model's weights and a share

RENEWED = 50  # times in a schedule, about, that masks are chosen anew
MASK, DONE = "mask/", "done"


class Frozen(Constraint):
    """Zeros that stay.

    A zero takes no part in anything: its gradient is zero before gradients are
    clipped, and it is set to zero after every step, whatever momentum, weight decay or
    an average made of it.
    """

    def __init__(self, masks: Masks | None = None) -> None:
        self._masks = dict(masks or {})
        self._network, self._steps, self._done = nn.Module(), 1, 0

    def begin(
        self,
        network: nn.Module,
        optimizer: Optimizer,  # noqa: ARG002  others need it
        steps: int,
    ) -> None:
        """Zeros from the first step on."""
        self._network, self._steps, self._done = network, max(1, steps), 0
        self.apply_(network)

    def after_backward(self) -> None:
        """No gradient where a mask is."""
        for name, parameter in self._network.named_parameters():
            if name in self._masks and parameter.grad is not None:
                parameter.grad.masked_fill_(~self._masks[name], 0.0)

    def after_step(self) -> None:
        """Zeros where a mask is."""
        self._done += 1
        self.apply_(self._network)

    def apply_(self, model: nn.Module) -> None:
        """Exact zeros."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self._masks:
                    parameter.masked_fill_(~self._masks[name], 0.0)

    def state(self) -> dict[str, Tensor]:
        """The masks, and how far the training is."""
        masks = {f"{MASK}{name}": mask for name, mask in self._masks.items()}
        return {DONE: torch.tensor(self._done), **masks}

    def restore_(self, state: Mapping[str, Tensor]) -> None:
        """Go on with these masks."""
        self._done = int(state[DONE])
        self._masks = {
            name.removeprefix(MASK): mask
            for name, mask in state.items()
            if name.startswith(MASK)
        }


class Masked(Frozen):
    """Zeros at a share that may rise during training.

    Args:
        choose: masks for a model as it is. What is zero already must be among the
            first to go, so that no zero comes back.
    """

    def __init__(self, choose: Choose, schedule: Schedule) -> None:
        super().__init__()
        self._choose, self._schedule = choose, schedule

    @property
    def settled(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the final share is reached."""
        return self._done >= self._rising

    def begin(self, network: nn.Module, optimizer: Optimizer, steps: int) -> None:
        """Choose the first masks."""
        self._masks = {}
        super().begin(network, optimizer, steps)
        self._renew()

    def finish(self) -> None:
        """The final share, if it was not reached."""
        if not self.settled:
            self._done = self._steps
            self._renew()

    def after_step(self) -> None:
        """Zeros where a mask is, and more of them if it is time."""
        super().after_step()
        every = max(1, round(self._rising / RENEWED))
        if (self._done <= self._rising and not self._done % every) or self._last:
            self._renew()

    @property
    def _rising(self) -> float:
        """Steps until the final share."""
        return self._schedule.until * self._steps

    @property
    def _last(self) -> bool:
        """Whether this is the first step at the final share."""
        return self._done - 1 < self._rising <= self._done

    def _renew(self) -> None:
        share = self._schedule.at(self._done / self._steps)
        self._masks = dict(self._choose(self._network, share))
        self.apply_(self._network)
