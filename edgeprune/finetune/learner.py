"""A learner on its way: one step, one epoch, and what a later process goes on from."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeprune.data import Splits
from edgeprune.finetune.constraint import Constraint
from edgeprune.finetune.formats import Format
from edgeprune.finetune.state import load_state, save_state
from edgeprune.progress import SILENT, Progress
from edgeprune.records import Epoch
from edgeprune.workload import check_outputs

TEMPERATURE = 4.0
DISTILLED_SHARE = 0.7  # of the loss; the rest is cross-entropy with the labels
WARMUP_SHARE = 0.1  # of all steps
CLIP_NORM = 5.0
MIN_BATCH = 2  # batch norm has no statistics of one sample
HISTORY = TypeAdapter(list[Epoch])


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        purpose: for the report.
        momentum: of sgd.
        average: decay per step of an exponential average of the weights, which is
            what is judged and kept; 0 for none.
        teacher: distil from this model's outputs if given.
        held_by: what holds weights in shape meanwhile.
        state: a file that the training is written to after every epoch, and goes on
            from if it is there.
    """

    purpose: str
    epochs: int
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    seed: int = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    average: float = 0.0
    teacher: nn.Module | None = None
    held_by: Constraint | None = None
    state: Path | None = None
    progress: Progress = SILENT


@dataclass
class Best:
    """The best state so far, by its validation accuracy."""

    model: nn.Module
    accuracy: float
    epoch: int = 0

    def compete(self, model: nn.Module, accuracy: float, epoch: int) -> None:
        """Take another state if it is as good."""
        if accuracy >= self.accuracy:
            self.accuracy, self.epoch = accuracy, epoch
            self.model.load_state_dict(model.state_dict())


class Learner:
    """A copy of a model that learns, with all that goes along.

    Args:
        steps: of the whole training.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, form: Format, steps: int
    ) -> None:
        self._recipe, self._form, self._steps = recipe, form, steps
        self._model = form.prepare(copy.deepcopy(model))
        self._teacher = recipe.teacher
        if self._teacher is not None:
            self._teacher = form.prepare(copy.deepcopy(self._teacher).eval())
        self._optimizer = _optimizer(self._model, recipe)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: rate_at(step, steps)
        )
        self._held_by = recipe.held_by or Constraint()
        self._held_by.begin(self._model, self._optimizer, steps)
        self._average: AveragedModel | None = None
        if recipe.average:
            decayed = get_ema_multi_avg_fn(recipe.average)
            self._average = AveragedModel(
                self._model, multi_avg_fn=decayed, use_buffers=True
            )

    @property
    def judged(self) -> nn.Module:
        """The learner, or its average."""
        return self._model if self._average is None else self._average.module

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._optimizer.param_groups[0]["lr"]

    @property
    def settled(self) -> bool:
        """Whether what holds the weights has reached what it is after."""
        return self._held_by.settled

    def finish(self) -> None:
        """After the last epoch: what holds the weights is where it was to be."""
        self._held_by.finish()
        self._held_by.hold_(self.judged)

    def epoch(self, splits: Splits) -> float:
        """Mean loss of one pass over the training data."""
        self._model.train()
        total = seen = 0.0
        for x, y in self._form.batches(splits.train):
            if len(y) < MIN_BATCH:
                continue
            loss = self._step(x, y)
            total, seen = total + loss * len(y), seen + len(y)
            self._recipe.progress.advance(f"loss {total / seen:.3f}")
            if not math.isfinite(loss):
                break
        return total / max(seen, 1)

    def save(self, history: Sequence[Epoch], best: Best) -> None:
        """Write all of it to the recipe's file, if it has one."""
        if self._recipe.state is None:
            return
        parts = {
            "learner": self._model.state_dict(),
            "best": best.model.state_dict(),
            "optimizer": _optimizer_state(self._optimizer),
            "held_by": self._held_by.state(),
            "average": {} if self._average is None else self._average.state_dict(),
        }
        facts = {
            **self._identity(),
            "history": HISTORY.dump_python(list(history)),
            "accuracy": best.accuracy,
            "epoch": best.epoch,
            "steps_done": self._schedule.last_epoch,
        }
        save_state(self._recipe.state, parts, facts)

    def resume_(self, best: Best) -> list[Epoch]:
        """Come to where an earlier process ended; the epochs that it did."""
        path = self._recipe.state
        if path is None or not path.is_file():
            return []
        parts, facts = load_state(path)
        if any(facts.get(key) != value for key, value in self._identity().items()):
            return []  # of another training
        self._model.load_state_dict(parts["learner"])
        best.model.load_state_dict(parts["best"])
        best.accuracy, best.epoch = facts["accuracy"], facts["epoch"]
        _restore_optimizer_(self._optimizer, parts.get("optimizer", {}))
        self._held_by.restore_(parts.get("held_by", {}))
        if self._average is not None:
            self._average.load_state_dict(parts["average"])
        done = self._schedule.last_epoch = facts["steps_done"]
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * rate_at(done, self._steps)
        history = HISTORY.validate_python(facts["history"])
        self._recipe.progress.advance(f"{len(history)} epochs were done before")
        return history

    def _identity(self) -> dict[str, object]:
        """What a training must have in common with one that it goes on from."""
        recipe = self._recipe
        return {
            "purpose": recipe.purpose,
            "epochs": recipe.epochs,
            "steps": self._steps,
            "learning_rate": recipe.learning_rate,
            "optimizer": recipe.optimizer,
            "average": recipe.average,
            "seed": recipe.seed,
        }

    def _step(self, x: Tensor, y: Tensor) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        self._held_by.before_forward()
        with self._form.running():
            outputs = self._model(x)
            check_outputs(outputs, y)
            soft = self._soft_targets(x)
        loss = loss_of(outputs.float(), y, soft)
        loss.backward()
        self._held_by.after_backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), CLIP_NORM)
        self._optimizer.step()
        self._held_by.after_step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._model)
            self._held_by.hold_(self._average.module)
        return float(loss.detach())

    def _soft_targets(self, x: Tensor) -> Tensor | None:
        if self._teacher is None:
            return None
        with torch.no_grad():
            return self._teacher(x).float()


def loss_of(outputs: Tensor, y: Tensor, soft: Tensor | None) -> Tensor:
    """Cross-entropy, mixed with T^2 * KL to the teacher's softened outputs.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
    """
    hard = functional.cross_entropy(outputs, y)
    if soft is None:
        return hard
    divergence = functional.kl_div(
        functional.log_softmax(outputs / TEMPERATURE, 1),
        functional.log_softmax(soft / TEMPERATURE, 1),
        log_target=True,
        reduction="batchmean",
    )
    share = DISTILLED_SHARE
    return (1 - share) * hard + share * TEMPERATURE**2 * divergence


def rate_at(step: int, total: int) -> float:
    """Learning rate as a share of its peak: up over the warm-up, cosine to zero."""
    warmup = max(1, int(total * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _optimizer(learner: nn.Module, recipe: Recipe) -> Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(learner.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(
        learner.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=decay,
        nesterov=recipe.momentum > 0,
    )


def _optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, by its number."""
    return {
        f"{number}/{key}": torch.as_tensor(value)
        for number, held in optimizer.state_dict()["state"].items()
        for key, value in held.items()
        if value is not None
    }


def _restore_optimizer_(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
