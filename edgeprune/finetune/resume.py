"""The epochs of a training that are over: the best of them, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import TypeAdapter
from torch import nn

from edgeprune.errors import DamagedFileError, OutputError
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.state import Saved, load_state, save_state
from edgeprune.finetune.trainer import Trainer
from edgeprune.metric import ACCURACY, Metric
from edgeprune.records import Epoch

KNOWN_SLACK = 0.05  # accuracy that known samples may seem to lose by training
HISTORY = TypeAdapter(list[Epoch])


class CheckpointSelector:
    """The state that is kept: the latest that is as good as any, as far as is known.

    Of two epochs the later one is better on the whole, as the learning rate is lower;
    an earlier one is kept only where it is better by more than a standard error of its
    accuracy (Breiman et al., "Classification and Regression Trees", 1984), which on a
    small split, or on one that the original was trained on, is often chance. What is
    worse than the start is never kept, nor what misses a floor that was reached.

    Args:
        model: the start, which is changed to what is kept.
        accuracy: of the start, on the validation split.
        samples: of that split.
        floor: accuracy that is not to be missed.
        known: the start may know these samples. What it gives up of them says nothing
            of others: the latest state is kept, but for one that is worse by far.
    """

    def __init__(
        self,
        model: nn.Module,
        accuracy: float,
        samples: int,
        floor: float = -math.inf,
        *,
        known: bool = False,
        metric: Metric = ACCURACY,
    ) -> None:
        self.model, self.accuracy, self.epoch = model, accuracy, 0
        self.top = self._start = accuracy
        self._samples, self._floor = samples, floor
        self._slack = KNOWN_SLACK if known else 0.0
        self._metric = metric

    def compete(self, model: nn.Module, accuracy: float, epoch: int) -> None:
        """Take a later state if it is as good."""
        self.top = max(self.top, accuracy)
        chance = self._metric.chance(self.top, self._samples)
        reached = self._floor if self.top >= self._floor else -math.inf
        best = max(self._start, self.top - chance)
        needed = max(reached, best - self._slack)
        if accuracy >= needed:
            self.accuracy, self.epoch = accuracy, epoch
            self.model.load_state_dict(model.state_dict())


def kept_state(config: TrainingConfig, start: str) -> Saved | None:
    """What an earlier process has kept of a training, if it is of this one.

    Args:
        start: hash of the network that the training begins with.
    """
    if config.state is None:
        return None
    try:
        saved = load_state(config.state)
    except DamagedFileError as error:
        config.progress.advance(f"{error}: the training begins anew")
        return None
    if saved is None:
        return None
    if saved[1].get("start") != start:
        name = config.state.name
        config.progress.advance(f"{name} is of another network: it is trained anew")
        return None
    return saved


def keep(
    trainer: Trainer,
    config: TrainingConfig,
    start: str,
    history: Sequence[Epoch],
    best: CheckpointSelector,
) -> None:
    """Write all of it to the config's file, if it has one that can be written."""
    if config.state is None:
        return
    done, whole = trainer.steps
    parts = {**trainer.state(), "best": best.model.state_dict()}
    facts = {
        **_identity(config, whole),
        "start": start,
        "history": HISTORY.dump_python(list(history)),
        "accuracy": best.accuracy,
        "epoch": best.epoch,
        "top": best.top,
        "steps_done": done,
    }
    try:
        save_state(config.state, parts, facts)
    except OutputError as error:
        config.progress.advance(f"not kept for a later run: {error}")


def resume_(
    trainer: Trainer,
    config: TrainingConfig,
    best: CheckpointSelector,
    saved: Saved | None,
) -> list[Epoch]:
    """Come to where an earlier process ended; the epochs that it did."""
    if saved is None:
        return []
    parts, facts = saved
    _, whole = trainer.steps
    if any(facts.get(key) != value for key, value in _identity(config, whole).items()):
        return []  # of another training
    trainer.restore_(parts, facts["steps_done"])
    best.model.load_state_dict(parts["best"])
    best.accuracy, best.epoch = facts["accuracy"], facts["epoch"]
    best.top = facts["top"]
    history = HISTORY.validate_python(facts["history"])
    config.progress.advance(f"{len(history)} epochs were done before")
    return history


def _identity(config: TrainingConfig, steps: int) -> dict[str, object]:
    """Identify a training: only one with the same identity may be resumed."""
    return {
        "purpose": config.purpose,
        "epochs": config.epochs,
        "steps": steps,
        "learning_rate": config.learning_rate,
        "optimizer": config.optimizer,
        "average": config.average,
        "hints": config.hints,
        "inpaint": config.inpaint,
        "augment": list(config.augment.changes),
        "floor": config.floor,
        "seed": config.seed,
    }
