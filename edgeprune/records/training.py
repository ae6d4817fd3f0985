"""The course and outcome of a training."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.settings import Augmented, Optimizer


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        second_head_loss: mean square error of the second head, if there is one.
    """

    number: int
    loss: float
    learning_rate: float
    validation_accuracy: float
    seconds: float
    second_head_loss: float | None = None


@dataclass(frozen=True, slots=True)
class SecondHead:
    """A head that filled in cut-out regions during training, and was dropped.

    Attributes:
        weight: of its loss.
        accuracy_without: validation accuracy of the same training without it; None
            where there was none.
        kept: whether the network that was trained with it is the one that was kept.
    """

    weight: float
    accuracy_without: float | None = None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Training:
    """One call of the training loop.

    Attributes:
        accuracy_before: on the validation split.
        best_epoch: whose weights were kept; 0 is the state before the first.
        hints: modules whose feature maps in the teacher were targets, too.
        optimizer: what took the steps.
        augmented: how training images were changed.
        average: share of all steps that the average of the weights that was judged and
            kept looked back over; 0 for none.
        processes: that trained together.
    """

    purpose: str
    accuracy_before: float
    epochs: tuple[Epoch, ...]
    best_epoch: int
    number_format: str
    memory_format: str
    distilled: bool
    seed: int
    hints: tuple[str, ...] = ()
    optimizer: Optimizer = "sgd"
    augmented: tuple[Augmented, ...] = ()
    average: float = 0.0
    second_head: SecondHead | None = None
    processes: int = 1

    @property
    def best_accuracy(self) -> float:
        """Validation accuracy of what was kept."""
        if not self.best_epoch:
            return self.accuracy_before
        return self.epochs[self.best_epoch - 1].validation_accuracy
