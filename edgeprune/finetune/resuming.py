"""The epochs of a training that are over: the best of them, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from torch import nn

from edgeprune.finetune.learner import Learner
from edgeprune.finetune.recipe import Recipe
from edgeprune.finetune.state import Saved, save_state
from edgeprune.records import Epoch

HISTORY = TypeAdapter(list[Epoch])


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


def keep(
    learner: Learner, recipe: Recipe, history: Sequence[Epoch], best: Best
) -> None:
    """Write all of it to the recipe's file, if it has one."""
    if recipe.state is None:
        return
    done, whole = learner.steps
    parts = {**learner.state(), "best": best.model.state_dict()}
    facts = {
        **_identity(recipe, whole),
        "history": HISTORY.dump_python(list(history)),
        "accuracy": best.accuracy,
        "epoch": best.epoch,
        "steps_done": done,
    }
    save_state(recipe.state, parts, facts)


def resume_(
    learner: Learner, recipe: Recipe, best: Best, saved: Saved | None
) -> list[Epoch]:
    """Come to where an earlier process ended; the epochs that it did."""
    if saved is None:
        return []
    parts, facts = saved
    _, whole = learner.steps
    if any(facts.get(key) != value for key, value in _identity(recipe, whole).items()):
        return []  # of another training
    learner.restore_(parts, facts["steps_done"])
    best.model.load_state_dict(parts["best"])
    best.accuracy, best.epoch = facts["accuracy"], facts["epoch"]
    history = HISTORY.validate_python(facts["history"])
    recipe.progress.advance(f"{len(history)} epochs were done before")
    return history


def _identity(recipe: Recipe, steps: int) -> dict[str, object]:
    """What a training must have in common with one that it goes on from."""
    return {
        "purpose": recipe.purpose,
        "epochs": recipe.epochs,
        "steps": steps,
        "learning_rate": recipe.learning_rate,
        "optimizer": recipe.optimizer,
        "average": recipe.average,
        "hints": recipe.hints,
        "inpaint": recipe.inpaint,
        "augment": list(recipe.augment.changes),
        "seed": recipe.seed,
    }
