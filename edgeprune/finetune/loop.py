"""One training loop for the baseline and for fine-tuning with distillation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.data import Splits
from edgeprune.errors import WorkloadError
from edgeprune.finetune.formats import PLAIN, Format, fastest_format
from edgeprune.graph.trace import evaluating
from edgeprune.progress import SILENT, Progress
from edgeprune.records import Epoch, Training
from edgeprune.workload import accuracy, check_outputs

TEMPERATURE = 4.0
DISTILLED_SHARE = 0.7  # of the loss; the rest is cross-entropy with the labels
WARMUP_SHARE = 0.1  # of all steps
CLIP_NORM = 5.0
STEPS = 200  # of fine-tuning, about
MIN_BATCH = 2  # batch norm has no statistics of one sample


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        purpose: for the report.
        teacher: distil from this model's outputs if given.
    """

    purpose: str
    epochs: int
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    seed: int = 0
    teacher: nn.Module | None = None
    progress: Progress = SILENT


def train(
    model: nn.Module, splits: Splits, recipe: Recipe
) -> tuple[nn.Module, Training]:
    """Train a copy; the weights of the best validation epoch, and the history.

    The learning rate rises over the first tenth of the steps and falls to zero along a
    cosine. The state before the first epoch competes too, as epoch 0: training never
    returns a model that is worse on the validation split.

    Raises:
        WorkloadError: the loss stays no number at a tenth of the learning rate too.
    """
    torch.manual_seed(recipe.seed)
    for rate in (recipe.learning_rate, recipe.learning_rate / 10):
        attempt = _attempt(model, splits, replace(recipe, learning_rate=rate))
        if attempt is not None:
            return attempt
    message = (
        "The training loss is no number, even at a tenth of the learning rate: check "
        "the data's scale (--mean, --std)."
    )
    raise WorkloadError(message)


def default_epochs(samples: int, *, steps: int = STEPS, batch_size: int = 64) -> int:
    """Epochs that make about so many steps, between 3 and 30."""
    return max(3, min(30, math.ceil(steps * batch_size / max(samples, 1))))


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Accuracy of a module in its own number format, 0..1."""
    with evaluating(model):
        return accuracy(model, batches)  # type: ignore[arg-type]


def _attempt(
    model: nn.Module, splits: Splits, recipe: Recipe
) -> tuple[nn.Module, Training] | None:
    """One training run; None if the loss stops being a number."""
    first = next(iter(splits.train))
    steps = _steps_per_epoch(splits, len(first[1]))
    recipe.progress.start(recipe.purpose, steps * recipe.epochs)
    before = best_accuracy = evaluate(model, splits.validation)
    best, best_epoch = copy.deepcopy(model), 0
    form = fastest_format(model, first) if recipe.epochs else PLAIN
    learner = form.prepare(copy.deepcopy(model))
    teacher = recipe.teacher
    if teacher is not None:
        teacher = form.prepare(copy.deepcopy(teacher).eval())
    optimizer = torch.optim.SGD(
        learner.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, steps * recipe.epochs)
    )
    history: list[Epoch] = []
    for number in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        run = _Epoch(learner, teacher, optimizer, schedule, form)
        loss = run.over(splits, recipe.progress)
        if not math.isfinite(loss):
            recipe.progress.finish("the loss is no number")
            return None
        with form.running():
            found = evaluate(learner, form.batches(splits.validation))
        rate = optimizer.param_groups[0]["lr"]
        seconds = time.perf_counter() - start
        history.append(Epoch(number, loss, rate, found, seconds))
        if found >= best_accuracy:
            best_accuracy, best_epoch = found, number
            best.load_state_dict(learner.state_dict())
    recipe.progress.finish(f"validation accuracy {best_accuracy:.2%}")
    return best, Training(
        purpose=recipe.purpose,
        accuracy_before=before,
        epochs=tuple(history),
        best_epoch=best_epoch,
        number_format=form.number,
        memory_format=form.memory,
        distilled=teacher is not None,
        seed=recipe.seed,
    )


@dataclass
class _Epoch:
    """One pass over the training data."""

    learner: nn.Module
    teacher: nn.Module | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    form: Format

    def over(self, splits: Splits, progress: Progress) -> float:
        """Mean loss."""
        self.learner.train()
        total = seen = 0.0
        for x, y in self.form.batches(splits.train):
            if len(y) < MIN_BATCH:
                continue
            loss = self._step(x, y)
            total, seen = total + loss * len(y), seen + len(y)
            progress.advance(f"loss {total / seen:.3f}")
            if not math.isfinite(loss):
                break
        return total / max(seen, 1)

    def _step(self, x: Tensor, y: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        with self.form.running():
            outputs = self.learner(x)
            check_outputs(outputs, y)
            soft = self._soft_targets(x)
        loss = _loss(outputs.float(), y, soft)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learner.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())

    def _soft_targets(self, x: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        with torch.no_grad():
            return self.teacher(x).float()


def _loss(outputs: Tensor, y: Tensor, soft: Tensor | None) -> Tensor:
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


def _rate(step: int, total: int) -> float:
    """Learning rate as a share of its peak: up over the warm-up, cosine to zero."""
    warmup = max(1, int(total * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _steps_per_epoch(splits: Splits, batch_size: int) -> int:
    return math.ceil(splits.sizes[0] / max(batch_size, 1))


@contextmanager
def flushing_denormals() -> Iterator[None]:
    """Numbers too small for a normal float become zero: they run many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
