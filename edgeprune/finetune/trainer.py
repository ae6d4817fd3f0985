"""Trains a copy of a model: one step, one epoch, and the state between two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeprune.data import Batches
from edgeprune.data.splits import reorder
from edgeprune.finetune.auxiliary import Auxiliary, Hints, Inpainting
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.constraint import Constraint
from edgeprune.finetune.formats import Format
from edgeprune.finetune.losses import loss_of
from edgeprune.finetune.muon import Muon
from edgeprune.finetune.process_group import ProcessGroup
from edgeprune.finetune.shared_norms import share_norms_
from edgeprune.graph.forward import evaluating
from edgeprune.graph.model_copy import copied
from edgeprune.tasks import tallied, value_of

WARMUP_SHARE = 0.1  # of all steps
CLIP_NORM = 5.0
MIN_BATCH = 2  # batch norm has no statistics of one sample
FAR = 1_000_003  # between the seeds of two epochs


class Trainer:
    """Trains a copy of a model, with its optimizer, average and constraint.

    Args:
        first: a batch of inputs.
        steps: of the whole training.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        form: Format,
        first: Tensor,
        steps: int,
        team: ProcessGroup,
    ) -> None:
        self._config, self._form, self._steps, self._team = config, form, steps, team
        self._task = config.task
        self._model = form.prepare(copied(model)).to(team.device)
        self._teacher = config.teacher
        if self._teacher is not None:
            held = copied(self._teacher).eval()
            self._teacher = form.prepare(held).to(team.device)
        x = form.lay_out(first).to(team.device)
        self._besides = _auxiliaries(self._model, self._teacher, config, x)
        if team.count > 1:
            share_norms_(self._model)
        heads = (item.head.to(team.device).parameters() for item in self._besides)
        self._trained = [*self._model.parameters(), *itertools.chain(*heads)]
        self._optimizer = _optimizer(self._trained, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: rate_at(step, steps)
        )
        self._constraint = config.constraint or Constraint()
        self._constraint.begin(self._model, self._optimizer, steps)
        self._average: AveragedModel | None = None
        if config.average:
            decayed = get_ema_multi_avg_fn(decay_of(config.average, steps))
            self._average = AveragedModel(
                self._model, multi_avg_fn=decayed, use_buffers=True
            )

    @property
    def ema_or_model(self) -> nn.Module:
        """The network, or its average."""
        return self._model if self._average is None else self._average.module

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._optimizer.param_groups[0]["lr"]

    @property
    def hints(self) -> tuple[str, ...]:
        """The modules whose feature maps the teacher shows."""
        held = [item.modules for item in self._besides if isinstance(item, Hints)]
        return held[0] if held else ()

    @property
    def settled(self) -> bool:
        """Whether what holds the weights has reached what it is after."""
        return self._constraint.settled

    def finish(self) -> None:
        """After the last epoch: let the constraint reach its goal."""
        self._constraint.finish()
        self._constraint.apply_(self.ema_or_model)

    def epoch(self, batches: Batches, number: int) -> tuple[float, float | None]:
        """One pass over the training data, or as far as there are steps left.

        Its order and all that is drawn in it depend on the seed and its number alone.

        Returns:
            Mean loss, and that of the second head where there is one.
        """
        self._model.train()
        seed = self._config.seed + FAR * number
        reorder(batches, seed)
        parts = self._team.part(batches)
        torch.manual_seed(seed + self._team.rank)
        seen = total = beside = 0.0
        for x, y in parts:
            (whole,) = self._team.sums(len(y))
            if whole < MIN_BATCH * self._team.count:
                continue
            found = self.step(x, y, len(y) / whole)
            loss, second = self._team.sums(*(len(y) * value for value in found))
            seen, total, beside = seen + whole, total + loss, beside + second
            self._config.progress.advance(f"loss {total / seen:.3f}")
            done = self._schedule.last_epoch >= self._steps
            if done or not math.isfinite(total):
                break
        mean, second = total / max(seen, 1), beside / max(seen, 1)
        return mean, second if self._config.inpaint else None

    def accuracy(self, batches: Batches) -> float:
        """Measure the metric; each process looks at its part of the samples."""
        model, device = self.ema_or_model, self._team.device

        def predict(x: Tensor) -> Tensor:
            return model(self._form.lay_out(x).to(device))

        with evaluating(model):  # in float32, as the exported file
            counted = tallied(self._task, predict, self._team.part(batches))
        length, filled = self._team.sums(len(counted), len(counted) > 0)
        if not len(counted):  # no sample was in this process's part
            counted = torch.zeros(round(length / max(filled, 1)), dtype=torch.float64)
        sums = torch.tensor(self._team.sums(*counted.tolist()), dtype=torch.float64)
        return value_of(self._task, sums)

    @property
    def steps(self) -> tuple[int, int]:
        """Those done, and those of the whole training."""
        return self._schedule.last_epoch, self._steps

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the state that a later process resumes from: tensors by part, name."""
        return {
            "learner": self._model.state_dict(),  # keys of files that runs leave
            "optimizer": _optimizer_state(self._optimizer),
            "held_by": self._constraint.state(),
            "average": {} if self._average is None else self._average.state_dict(),
            **{name: item.head.state_dict() for name, item in self._named()},
        }

    def restore_(self, parts: Mapping[str, Mapping[str, Tensor]], done: int) -> None:
        """Come to the state after so many steps."""
        self._model.load_state_dict(parts["learner"])
        _restore_optimizer_(self._optimizer, parts.get("optimizer", {}))
        self._constraint.restore_(parts.get("held_by", {}))
        if self._average is not None:
            self._average.load_state_dict(parts["average"])
        for name, item in self._named():
            item.head.load_state_dict(parts.get(name, {}))
        self._schedule.last_epoch = done
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate * rate_at(done, self._steps)

    def _named(self) -> list[tuple[str, Auxiliary]]:
        return [(f"head{at}", item) for at, item in enumerate(self._besides)]

    def step(self, x: Tensor, y: Tensor, share: float = 1.0) -> tuple[float, float]:
        """Learn from a batch, or from a process's part of it.

        Args:
            share: of the batch's rows that these are.

        Returns:
            The loss, and the second head's, 0 where there is none.
        """
        device = self._team.device
        x, y = self._config.augment(x, y, self._task)
        x = self._form.lay_out(x).to(device)
        self._optimizer.zero_grad(set_to_none=True)
        self._constraint.before_forward()
        seen = x
        for item in self._besides:
            seen = item.given(seen)
        with ExitStack() as stack:
            stack.enter_context(self._form.running(device))
            for item in self._besides:
                stack.enter_context(item.watching(self._model, self._teacher))
            outputs = self._model(seen)
            if self._task.learns:
                self._task.check(outputs, y)
            soft = self._soft_targets(x)
        y = y.to(device)
        smoothing = self._config.smoothing
        main = loss_of(self._task, outputs.float(), y, soft, smoothing)
        losses = [item.weight * item.loss(x) for item in self._besides]
        loss = sum(losses, main)
        # Gradients are averaged over processes whose parts may differ in length.
        (loss * share * self._team.count).backward()
        self._constraint.after_backward()
        self._take()
        inpaint = self._config.inpaint
        second = float(losses[-1].detach()) / inpaint if inpaint else 0.0
        return float(main.detach()), second

    def _take(self) -> None:
        """A step along the gradients of all processes."""
        if self._team.count > 1:
            for item in self._trained:
                if item.requires_grad and item.grad is None:
                    item.grad = torch.zeros_like(item)
            grads = [item.grad for item in self._trained if item.grad is not None]
            self._team.average_(grads)
        nn.utils.clip_grad_norm_(self._trained, CLIP_NORM)
        self._optimizer.step()
        self._constraint.after_step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._model)
            self._constraint.apply_(self._average.module)

    def _soft_targets(self, x: Tensor) -> Tensor | None:
        if self._teacher is None:
            return None
        with torch.no_grad():
            return self._teacher(x).float()


def rate_at(step: int, total: int) -> float:
    """Learning rate as a share of its peak: up over the warm-up, cosine to zero."""
    warmup = max(1, int(total * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def decay_of(share: float, steps: int) -> float:
    """Per step, of an exponential average over a share of all steps."""
    return max(0.0, 1 - 1 / max(share * steps, 1.0))


def _auxiliaries(
    network: nn.Module, teacher: nn.Module | None, config: TrainingConfig, x: Tensor
) -> list[Auxiliary]:
    found: list[Auxiliary] = []
    if config.hints and teacher is not None:
        found.append(Hints(network, teacher, x))
    if config.inpaint:
        found.append(Inpainting(network, x[:MIN_BATCH], config.inpaint))
    return found


def _optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    if config.optimizer == "muon":
        return Muon(parameters, rate, config.momentum, decay)
    return torch.optim.SGD(
        parameters,
        lr=rate,
        momentum=config.momentum,
        weight_decay=decay,
        nesterov=config.momentum > 0,
    )


def _optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as tensors, by parameter number and name."""
    return {
        f"{number}/{key}": torch.as_tensor(value)
        for number, held in optimizer.state_dict()["state"].items()
        for key, value in held.items()
        if value is not None
    }


def _restore_optimizer_(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
