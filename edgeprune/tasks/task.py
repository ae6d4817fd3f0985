"""The interface of a task; what it leaves out works for any outputs."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.metric import ACCURACY, Metric
from edgeprune.settings import Augmented
from edgeprune.tasks.structure import Structure, tensors_in

TINY = 1e-12
Batch = tuple[Tensor, Tensor]
Predict = Callable[[Tensor], Any]
Change = Callable[[Any], Any]  # of an image, or of all that moves with it


class Task(ABC):
    """What a network is for.

    Outputs are those of a batch: a tensor of shape (N, ...), or what your network
    returns where that is more. Targets are what your data give beside the inputs.

    Attributes:
        name: such as segmentation.
        metric: what outputs are judged by.
        learns: there are targets to learn by, not the original alone.
        safe_augmentations: changes of a training image after which its target, changed
            by `change`, is still right.

    Example:
        >>> import edgeprune, torch
        >>> class Counting(edgeprune.Task):
        ...     name = "counting"
        ...     metric = edgeprune.Metric("error", "people", higher_is_better=False)
        ...     def tally(self, outputs, targets):
        ...         off = (outputs[:, 0] - targets).abs().sum()
        ...         return torch.tensor([float(off), len(targets)])
        ...     def value(self, sums):
        ...         return -float(sums[0] / sums[1])
        ...     def loss(self, outputs, targets):
        ...         return (outputs[:, 0] - targets).abs().mean()
        >>> Counting().metric.text(-3.25)
        '3.25 people'
    """

    name: str = "task"
    metric: Metric = ACCURACY
    learns: bool = True
    safe_augmentations: tuple[Augmented, ...] = ()

    def check(self, outputs: Any, targets: Any) -> None:  # noqa: B027  all may fit
        """Refuse outputs that do not fit the targets.

        Raises:
            WorkloadError: what was returned, and what is expected.
        """

    @abstractmethod
    def tally(self, outputs: Any, targets: Any) -> Tensor:
        """What is counted of a batch, shape (K,): it adds up over batches."""

    @abstractmethod
    def value(self, sums: Tensor) -> float:
        """The metric of all that was counted; a larger one is better."""

    def each(self, outputs: Any, targets: Any) -> Tensor | None:  # noqa: ARG002
        """The metric of each sample, shape (N,), where that of all is their mean."""
        return None

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Tensor | None:  # noqa: ARG002
        """A scalar to learn by; None where only the original can be learnt from.

        Args:
            smoothing: of labels, where that has a meaning.
        """
        return None

    def adapted(self, outputs: Any) -> Task:  # noqa: ARG002
        """The task of a network that gives such outputs; itself where all are alike.

        Args:
            outputs: of some samples; of more of them if those of one change the task.
        """
        return self

    def answered(self) -> Task:
        """The same task where targets are what the original answers."""
        found = copy.copy(self)
        found.learns = False
        return found

    def answers(self, outputs: Any) -> Tensor:  # noqa: ARG002
        """The targets that outputs of the original make, where the data have none.

        Raises:
            ConfigError: outputs make no targets of this task.
        """
        message = f"--task {self.name} needs targets, and the data have none"
        raise ConfigError(f"{message}: leave it out, or give --task agreement.")

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """A training image, shape (C, H, W), and its target after a random change.

        A target that holds places goes through `change` together with the image, as
        one of torchvision's tv_tensors; any other stays.
        """
        return change(image), target

    def weights(self, outputs: Any) -> Tensor | None:  # noqa: ARG002
        """How much each number counts where networks are compared by their outputs.

        Args:
            outputs: what the original gives, one tensor (N, ...).

        Returns:
            The same shape; None where all count alike.
        """
        return None

    def distilled(self, outputs: Any, wanted: Any) -> Tensor:
        """How far outputs are from the original's, a scalar to learn by.

        The share of their variance that is missed, mean over all that is returned.
        """
        pairs = zip(tensors_in(outputs), tensors_in(wanted), strict=True)
        shares = [
            (found - other).square().mean() / other.var().clamp_min(TINY)
            for found, other in pairs
            if other.is_floating_point() and other.numel() > 1
        ]
        return torch.stack(shares).mean()


def judged(task: Task, predict: Predict, batches: Iterable[Batch]) -> float:
    """A metric over batches of (inputs, targets).

    Raises:
        WorkloadError: the outputs do not fit the targets.
    """
    return value_of(task, tallied(task, predict, batches))


def tallied(task: Task, predict: Predict, batches: Iterable[Batch]) -> Tensor:
    """What a task counts in batches; empty where there are none."""
    sums = torch.zeros(0, dtype=torch.float64)
    for outputs, y in _answered(task, predict, batches):
        found = counts_of(task, outputs, y).double().cpu()
        sums = found if not len(sums) else sums + found
    return sums


def counts_of(task: Task, outputs: Any, targets: Any) -> Tensor:
    """What a task counts of a batch, shape (K,).

    Raises:
        WorkloadError: its code gives something else.
    """
    found: Any = task.tally(outputs, targets)
    if not isinstance(found, Tensor) or found.ndim != 1:
        message = f"`tally` of task {task.name!r} must give a tensor of shape (K,),"
        raise WorkloadError(f"{message} found {shape_text(found)}.")
    return found


def scalar_loss(
    task: Task, outputs: Any, targets: Any, smoothing: float = 0.0
) -> Tensor | None:
    """A task's loss as one number; None where only the original can be learnt from.

    Args:
        smoothing: of labels; that of a task of one's own may know none.

    Raises:
        WorkloadError: its code gives something else.
    """
    given = (smoothing,) if smoothing else ()
    found: Any = task.loss(outputs, targets, *given)
    if found is not None and (not isinstance(found, Tensor) or found.numel() != 1):
        message = f"`loss` of task {task.name!r} must give a tensor with one number,"
        raise WorkloadError(f"{message} found {shape_text(found)}.")
    return None if found is None else found.reshape(())


def value_of(task: Task, sums: Tensor) -> float:
    """A metric of what was counted; 0 of nothing.

    Raises:
        WorkloadError: it is no number, which nothing is better or worse than, or an
            error above 0, of which a larger one would be better.
    """
    found = float(task.value(sums)) if len(sums) else 0.0
    if not math.isfinite(found):
        message = f"The {task.metric.name} of the samples is {found}: the network's"
        raise WorkloadError(
            f"{message} outputs are no numbers, or `value` of task {task.name!r} does "
            "not give one for all outputs."
        )
    if found > 0 and not task.metric.higher_is_better:
        message = f"`value` of task {task.name!r} gives {found:g}: where a lower"
        message += f" {task.metric.name} is better, it must give its negative"
        raise WorkloadError(f"{message}, of which a larger one is better.")
    return found


def scores_of(task: Task, predict: Predict, batches: Iterable[Batch]) -> Tensor | None:
    """The metric of each sample, shape (N,); None where it is no mean over samples.

    Raises:
        WorkloadError: the outputs do not fit the targets.
    """
    found = [torch.zeros(0, dtype=torch.float64)]
    for outputs, y in _answered(task, predict, batches):
        each = task.each(outputs, y)
        if each is None:
            return None
        found.append(each.double().cpu())
    return torch.cat(found)


def _answered(
    task: Task, predict: Predict, batches: Iterable[Batch]
) -> Iterator[tuple[Any, Tensor]]:
    """Outputs with their targets, looked at."""
    for x, y in batches:
        if not len(y):
            continue
        with torch.no_grad():
            outputs = predict(x)
        task.check(outputs, y)
        yield outputs, y


def mean_of(found: Tensor) -> Tensor:
    """What a mean over samples is counted by: its sum, and how many there are."""
    return torch.stack([found.double().sum(), found.new_tensor(len(found)).double()])


def shape_text(outputs: Any) -> str:
    """What was returned, in a few words."""
    if isinstance(outputs, Tensor):
        return f"shape {tuple(outputs.shape)}"
    return type(outputs).__name__


def same_shape(outputs: Any, targets: Tensor, what: str) -> None:
    """Refuse outputs of another shape than the targets.

    Raises:
        WorkloadError: both shapes.
    """
    if isinstance(outputs, Tensor) and outputs.shape == targets.shape:
        return
    raise WorkloadError(
        f"The model must return {what} of the targets' shape {tuple(targets.shape)}, "
        f"found {shape_text(outputs)}."
    )


class Unpacking(Task):
    """A task whose outputs, and perhaps targets, are rows in which several are packed.

    Args:
        outputs, targets: how; None where they are one tensor.
        main: the number of the output that is judged by itself; None for all.
    """

    def __init__(
        self,
        task: Task,
        outputs: Structure | None,
        targets: Structure | None,
        main: int | None = None,
    ) -> None:
        self.task, self._outputs, self._targets = task, outputs, targets
        self._main = main
        self.name, self.metric, self.learns = task.name, task.metric, task.learns
        if targets is None:
            self.safe_augmentations = task.safe_augmentations

    def _both(self, outputs: Tensor, targets: Any) -> tuple[Any, Any]:
        wanted = targets if self._targets is None else self._targets.named(targets)
        return self._out(outputs), wanted

    def _out(self, outputs: Tensor) -> Any:
        if self._outputs is None:
            return outputs
        if self._main is not None:
            return self._outputs.unpacked(outputs)[self._main]
        return self._outputs.named(outputs)

    def counted(self, outputs: Tensor) -> Any:
        """The output that is judged, or all by their names."""
        return self._out(outputs)

    def check(self, outputs: Any, targets: Any) -> None:
        """As the task does."""
        self.task.check(*self._both(outputs, targets))

    def adapted(self, outputs: Any) -> Task:
        """As the task is."""
        found = self.task.adapted(self._out(outputs))
        if found is self.task:
            return self
        return Unpacking(found, self._outputs, self._targets, self._main)

    def tally(self, outputs: Any, targets: Any) -> Tensor:
        """As the task does."""
        return self.task.tally(*self._both(outputs, targets))

    def value(self, sums: Tensor) -> float:
        """As the task does."""
        return self.task.value(sums)

    def each(self, outputs: Any, targets: Any) -> Tensor | None:
        """As the task does."""
        return self.task.each(*self._both(outputs, targets))

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Tensor | None:
        """As the task does."""
        return scalar_loss(self.task, *self._both(outputs, targets), smoothing)

    def answers(self, outputs: Any) -> Tensor:
        """As the task does; of all outputs, packed as they are."""
        if self._targets is not None:
            return outputs.float()
        return self.task.answers(self._out(outputs))

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """As the task does."""
        return self.task.changed(image, target, change)

    def distilled(self, outputs: Any, wanted: Any) -> Tensor:
        """As the task does."""
        return self.task.distilled(self._out(outputs), self._out(wanted))
