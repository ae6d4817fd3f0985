"""The context of a criterion: everything that it may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from edgeprune.data import Batches
from edgeprune.graph.device import CPU
from edgeprune.graph.groups import ChannelGraph, Group, Member
from edgeprune.graph.labels import LabelArray
from edgeprune.progress import SILENT, Progress
from edgeprune.records.surgery import inside
from edgeprune.tasks import Classification, Task, scalar_loss


@dataclass(frozen=True)
class Context:
    """A model, its groups and data.

    Attributes:
        samples: how many samples a criterion that needs data reads.
        step: samples that go through the network at once, at most.
        device: where the network runs.
        task: what the targets are.

    Example:
        >>> import edgeprune, torch
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
        ... )
        >>> x, y = torch.randn(32, 3, 16, 16), torch.arange(32) % 4
        >>> graph = edgeprune.survey(model, (x[:1],))
        >>> context = edgeprune.Context(model, graph, [(x, y)], samples=16)
        >>> tuple(context.tensor("0.weight").shape)
        (8, 3, 3, 3)
    """

    model: nn.Module
    graph: ChannelGraph
    batches: Batches | None = None
    samples: int = 512
    seed: int = 0
    progress: Progress = SILENT
    step: int = 32
    device: torch.device = CPU
    task: Task = field(default_factory=Classification)

    def tensor(self, path: str) -> Tensor:
        """A parameter or buffer by its path."""
        owner, _, name = path.rpartition(".")
        return getattr(self.model.get_submodule(owner), name)

    def zeros(self) -> dict[str, Tensor]:
        """A sum to begin with for every channel, shape (channels,) for each group."""
        return {
            group.name: torch.zeros(group.size, dtype=torch.float64)
            for group in self.graph.groups
        }

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch; where the task has none, of the outputs' size."""
        task = self.task
        found = scalar_loss(task, outputs, targets) if task.learns else None
        return outputs.square().flatten(1).sum(1).mean() if found is None else found

    def labelled(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels, a step at a time, until there are enough samples."""
        assert self.batches is not None  # checked by the caller
        seen = 0
        self.progress.start("score", self.samples)
        for x, y in self.batches:
            some, labels = x[: self.samples - seen], y[: self.samples - seen]
            for start in range(0, len(labels), self.step):
                step = slice(start, start + self.step)
                yield some[step], labels[step]
                for _ in labels[step]:
                    self.progress.advance()
            seen += len(labels)
            if seen >= self.samples:
                break
        self.progress.finish(f"{seen} samples")

    def of_groups(self, groups: tuple[Group, ...]) -> Context:
        """The same for other groups."""
        return replace(self, graph=replace(self.graph, groups=groups))


def producers(group: Group) -> list[Member]:
    """The members that make a group's channels; all of them where none does."""
    made = [member for member in group.members if member.role == "output"]
    return made or list(group.members)


def within(group: Group, module: str) -> Group:
    """Return the part of a group that lives in a module."""
    members = (item for item in group.members if inside(item.parameter, (module,)))
    return replace(group, members=tuple(members))


def sum_by_channel(values: Tensor, channel_of: LabelArray, size: int) -> Tensor:
    """Add up values along the last axis by channel.

    Args:
        values: shape (..., positions).
        channel_of: shape (positions,), -1 where a position belongs to no channel.

    Returns:
        Shape (..., size).
    """
    owner = torch.from_numpy(channel_of)
    mine = (owner >= 0).nonzero()[:, 0]
    result = values.new_zeros(*values.shape[:-1], size)
    return result.index_add_(-1, owner[mine], values[..., mine])


def mean_over_filters(
    context: Context, members: list[Member], size: int, of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean over what lies along some axes for each channel, shape (channels,).

    Args:
        of: from filters in float64, shape (filters, weights), to shape (filters,).
    """
    total = torch.zeros(size, dtype=torch.float64)
    count = torch.zeros_like(total)
    for member in members:
        weight = context.tensor(member.parameter).detach().double().unsqueeze(-1)
        values = of(
            weight.movedim(member.axis, 0).reshape(weight.shape[member.axis], -1)
        )
        total += sum_by_channel(values, member.channel_of, size)
        count += sum_by_channel(torch.ones_like(values), member.channel_of, size)
    return total / count.clamp_min(1)
