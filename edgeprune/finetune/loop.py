"""One training loop for the baseline and for fine-tuning with distillation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from edgeprune.data import Splits
from edgeprune.data.splits import Batch, reorder
from edgeprune.errors import WorkloadError
from edgeprune.finetune.config import CLASSES, TrainingConfig
from edgeprune.finetune.formats import PLAIN, Format, fastest_format
from edgeprune.finetune.process_group import ProcessGroup, team
from edgeprune.finetune.resume import CheckpointSelector, keep, kept_state, resume_
from edgeprune.finetune.state import Saved
from edgeprune.finetune.trainer import MIN_BATCH, Trainer
from edgeprune.graph.device import CPU, on_device
from edgeprune.graph.forward import evaluating
from edgeprune.graph.model_copy import copied
from edgeprune.graph.operations import samples_at_once
from edgeprune.launch import launched
from edgeprune.progress import SILENT, RunInterrupted, say_figures
from edgeprune.records import Epoch, SecondHead, Training
from edgeprune.tasks import Task, judged
from edgeprune.tensor_file import fingerprint

STEPS = 200  # of fine-tuning, about
TIMED_STEPS = 4  # to learn how long one takes; the first does not count
MOST_EPOCHS = 200  # however much time there is


def train(
    model: nn.Module, splits: Splits, config: TrainingConfig
) -> tuple[nn.Module, Training]:
    """Train a copy; return the weights of the epoch that is kept, and the history.

    The learning rate rises over the first tenth of the steps and falls to zero along a
    cosine. The state before the first epoch competes too, as epoch 0: training never
    returns a model that is worse on the validation split. Where there are several
    processes, all take part; what a constraint holds in shape is trained by one.

    Raises:
        WorkloadError: nothing is trained, or the loss stays no number at a tenth of
            the learning rate too.
    """
    if config.epochs and not any(item.requires_grad for item in model.parameters()):
        message = "No parameter of the model is trained: all have requires_grad=False."
        raise WorkloadError(message)
    config, members = replace(config, task=splits.task), _members(config)
    start = fingerprint(model.state_dict())
    saved = kept_state(config, start)
    for rate in (config.learning_rate, config.learning_rate / 10):
        config = replace(config, learning_rate=rate)
        training = _Training(model, config, start, saved, members)
        members.call(_Help(model, config, start, saved))
        found = training.go(splits)
        if found is not None:
            return found
    message = (
        "The training loss is no number, even at a tenth of the learning rate: check "
        "the data's scale (--mean, --std)."
    )
    raise WorkloadError(message)


def default_epochs(samples: int, *, steps: int = STEPS, batch_size: int = 64) -> int:
    """Epochs that make about so many steps, between 3 and 30."""
    return max(3, min(30, math.ceil(steps * batch_size / max(samples, 1))))


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device = CPU,
    task: Task = CLASSES,
) -> float:
    """The metric of a module in its own number format."""
    network, step = on_device(model, device), 0

    def predict(x: Tensor) -> Tensor:
        nonlocal step
        if device != CPU:
            return network(x.to(device))
        step = step or samples_at_once(network, x[:1])
        if len(x) <= step:
            return network(x)
        return torch.cat([network(part) for part in x.split(step)])

    with evaluating(network):
        return judged(task, predict, batches)


def _members(config: TrainingConfig) -> ProcessGroup:
    """The processes that take part; what a constraint holds is trained by one."""
    if config.constraint is not None:
        return ProcessGroup()
    return team() if launched() else ProcessGroup(config.device)


class _Help:
    """The work of another process meanwhile: the same, silently, on its own data."""

    def __init__(
        self, model: nn.Module, config: TrainingConfig, start: str, saved: Saved | None
    ) -> None:
        silent = replace(config, progress=SILENT, state=None, constraint=None)
        self._held = model, silent, start, saved

    def __call__(self, splits: Splits) -> None:
        _Training(*self._held, team()).go(splits)


@dataclass(frozen=True)
class _Training:
    """One training run.

    Attributes:
        start: hash of the network as it is before.
        saved: what an earlier process has kept of it.
    """

    model: nn.Module
    config: TrainingConfig
    start: str
    saved: Saved | None
    members: ProcessGroup

    def go(self, splits: Splits) -> tuple[nn.Module, Training] | None:
        """All epochs; None if the loss stops being a number."""
        config, model = self.config, self.model
        first = self._first(splits)
        whole = _steps_per_epoch(splits, len(first[1]))
        form = self._agreed(lambda: fastest_format(model, first, self.members.device))
        steps = self._steps(splits, first, form, whole)
        config.progress.start(config.purpose, steps)
        trainer = self._trainer(config, form, first, steps)
        if not steps:
            trainer.finish()
        start = copied(model)
        start.load_state_dict(trainer.ema_or_model.state_dict())
        before = self._before(trainer, splits, steps)
        best = CheckpointSelector(
            start,
            before if trainer.settled else -math.inf,
            splits.sizes[1],
            config.floor,
            known=config.known,
            metric=splits.task.metric,
        )
        history = resume_(trainer, config, best, self.saved)
        epochs = math.ceil(steps / max(whole, 1))
        with suppress(RunInterrupted):  # the best epoch so far is the outcome
            for number in range(len(history) + 1, epochs + 1):
                if config.enough is not None and best.accuracy >= config.enough:
                    break
                history.append(_epoch(trainer, splits, number, last=number == epochs))
                say_figures(config.progress, _figures(history[-1], splits), number)
                if not math.isfinite(history[-1].loss):
                    config.progress.finish("the loss is no number")
                    return None
                if trainer.settled:
                    found = history[-1].validation_accuracy
                    best.compete(trainer.ema_or_model, found, number)
                if self.members.main:
                    keep(trainer, config, self.start, history, best)
            config.progress.finish(_told(config, best))
        record = self._record(form, before, best, history)
        return best.model, replace(record, hints=trainer.hints)

    def _first(self, splits: Splits) -> Batch:
        """The first batch of all."""
        reorder(splits.train, self.config.seed)
        return self.members.agreed(next(iter(splits.train)))

    def _before(self, trainer: Trainer, splits: Splits, steps: int) -> float:
        """The accuracy before the first step."""
        known = None if steps else self.config.accuracy
        return trainer.accuracy(splits.validation) if known is None else known

    def _trainer(
        self, config: TrainingConfig, form: Format, first: Batch, steps: int
    ) -> Trainer:
        torch.manual_seed(config.seed)  # of a second head's weights
        return Trainer(self.model, config, form, first[0], steps, self.members)

    def _agreed(self, find: Callable[[], Format]) -> Format:
        """The format that the main process finds fastest."""
        if not self.config.epochs:
            return PLAIN
        return self.members.agreed(find() if self.members.main else None)

    def _steps(self, splits: Splits, first: Batch, form: Format, whole: int) -> int:
        """Count the steps of the whole training: by epochs, or as time allows.

        Some steps are timed, with all that belongs to them, and a look at some of the
        validation data. A training that goes on has as many as it had.
        """
        config = self.config
        if config.seconds is None or not config.epochs:
            return whole * config.epochs
        if self.saved is not None:
            return self.saved[1]["steps"]
        trial = replace(config, constraint=None, progress=SILENT)
        trainer = self._trainer(trial, form, first, TIMED_STEPS)
        times: list[float] = [time.perf_counter()]
        for x, y in islice(self.members.part(splits.train), TIMED_STEPS):
            trainer.step(x, y, 1 / self.members.count)
            times.append(time.perf_counter())
        step_s = (times[-1] - times[1]) / max(len(times) - 2, 1)
        trainer.accuracy([next(iter(splits.validation))])
        look_s = (time.perf_counter() - times[-1]) * splits.sizes[1] / len(first[1])
        steps = config.seconds / (step_s + look_s / whole)
        if steps < whole:
            steps = (config.seconds - look_s) / step_s
        most = whole * MOST_EPOCHS
        return self.members.agreed(int(min(max(steps, 1.0), most)))

    def _record(
        self,
        form: Format,
        before: float,
        best: CheckpointSelector,
        history: list[Epoch],
    ) -> Training:
        config = self.config
        return Training(
            purpose=config.purpose,
            accuracy_before=before,
            epochs=tuple(history),
            best_epoch=best.epoch,
            number_format=form.number,
            memory_format=form.memory,
            distilled=config.teacher is not None,
            seed=config.seed,
            optimizer=config.optimizer,
            augmented=config.augment.changes,
            average=config.average,
            second_head=SecondHead(config.inpaint) if config.inpaint else None,
            processes=self.members.count,
        )


def _told(config: TrainingConfig, best: CheckpointSelector) -> str:
    return f"validation {config.task.metric.told(best.accuracy)}"


def _epoch(trainer: Trainer, splits: Splits, number: int, *, last: bool) -> Epoch:
    """One pass over the training data and a look at the validation split."""
    began = time.perf_counter()
    loss, beside = trainer.epoch(splits.train, number)
    if last:
        trainer.finish()
    found = trainer.accuracy(splits.validation) if math.isfinite(loss) else -math.inf
    seconds = time.perf_counter() - began
    return Epoch(number, loss, trainer.rate, found, seconds, beside)


def _figures(epoch: Epoch, splits: Splits) -> dict[str, float]:
    """What those who watch a training look at."""
    return {
        "loss": epoch.loss,
        f"validation {splits.task.metric.name}": epoch.validation_accuracy,
        "learning rate": epoch.learning_rate,
    }


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
