"""One training loop for the baseline and for fine-tuning with distillation."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgeprune.data import Splits
from edgeprune.errors import WorkloadError
from edgeprune.finetune.formats import PLAIN, fastest_format
from edgeprune.finetune.learner import MIN_BATCH, Best, Learner, Recipe
from edgeprune.graph.trace import evaluating
from edgeprune.records import Epoch, Training
from edgeprune.workload import accuracy

STEPS = 200  # of fine-tuning, about


def train(
    model: nn.Module, splits: Splits, recipe: Recipe
) -> tuple[nn.Module, Training]:
    """Train a copy; the weights of the best validation epoch, and the history.

    The learning rate rises over the first tenth of the steps and falls to zero along a
    cosine. The state before the first epoch competes too, as epoch 0: training never
    returns a model that is worse on the validation split.

    Raises:
        WorkloadError: nothing is trained, or the loss stays no number at a tenth of
            the learning rate too.
    """
    if recipe.epochs and not any(item.requires_grad for item in model.parameters()):
        message = "No parameter of the model is trained: all have requires_grad=False."
        raise WorkloadError(message)
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
    form = fastest_format(model, first) if recipe.epochs else PLAIN
    learner = Learner(model, recipe, form, steps * recipe.epochs)
    if not recipe.epochs:
        learner.finish()
    start = copy.deepcopy(model)
    start.load_state_dict(learner.judged.state_dict())
    before = evaluate(start, splits.validation)
    best = Best(start, before if learner.settled else -1.0)
    history = learner.resume_(best)
    for number in range(len(history) + 1, recipe.epochs + 1):
        began = time.perf_counter()
        loss = learner.epoch(splits)
        if not math.isfinite(loss):
            recipe.progress.finish("the loss is no number")
            return None
        if number == recipe.epochs:
            learner.finish()
        with form.running():
            found = evaluate(learner.judged, form.batches(splits.validation))
        seconds = time.perf_counter() - began
        history.append(Epoch(number, loss, learner.rate, found, seconds))
        if learner.settled:
            best.compete(learner.judged, found, number)
        learner.save(history, best)
    recipe.progress.finish(f"validation accuracy {best.accuracy:.2%}")
    return best.model, Training(
        purpose=recipe.purpose,
        accuracy_before=before,
        epochs=tuple(history),
        best_epoch=best.epoch,
        number_format=form.number,
        memory_format=form.memory,
        distilled=recipe.teacher is not None,
        seed=recipe.seed,
    )


def _steps_per_epoch(splits: Splits, batch_size: int) -> int:
    """Batches that are trained on; a last one that is too small is left out."""
    whole, rest = divmod(splits.sizes[0], max(batch_size, 1))
    return whole + (rest >= MIN_BATCH)


@contextmanager
def flushing_denormals() -> Iterator[None]:
    """Numbers too small for a normal float become zero: they run many times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
