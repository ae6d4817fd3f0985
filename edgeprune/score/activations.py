"""Observes channels on data: the values at a group's sites, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from edgeprune.errors import ScoreError
from edgeprune.graph.device import on_device
from edgeprune.graph.hooked_run import Reading, run_with_hooks
from edgeprune.graph.model_copy import copied
from edgeprune.graph.rules import result_shape
from edgeprune.graph.sites import Site
from edgeprune.score.context import Context, sum_by_channel

HELD_BYTES = 2**28  # values with gradients, in one step; all that belongs to it is more
Sites = Mapping[str, Sequence[Site]]  # by group
Take = Callable[[str, "Seen"], None]


@dataclass(frozen=True)
class Seen:
    """A value at a site, for a batch of samples.

    Attributes:
        tensor: shape (samples, other axes, positions): what lies along the site's
            axes, in its order, is the last axis. Values of a sample that were folded
            into its axis, as windows are, are other axes again.
        size: channels of the group.
    """

    site: Site
    tensor: Tensor
    size: int

    @property
    def sums(self) -> Tensor:
        """Sum over all that belongs to a channel, shape (samples, channels)."""
        flat = self.tensor.flatten(1, -2).sum(1)
        return sum_by_channel(flat, self.site.channel_of, self.size)

    @property
    def means(self) -> Tensor:
        """Mean over all that belongs to a channel, shape (samples, channels)."""
        ones = torch.ones(len(self.site.channel_of), dtype=self.tensor.dtype)
        count = sum_by_channel(ones, self.site.channel_of, self.size)
        others = self.tensor[0, ..., 0].numel()
        return self.sums / (count * others).clamp_min(1)

    @property
    def maps(self) -> Tensor:
        """Shape (samples, channels, other axes, positions of each channel).

        Positions are averaged where channels have unequal numbers of them.
        """
        owner = torch.from_numpy(self.site.channel_of)
        counts = torch.bincount(owner[owner >= 0], minlength=self.size)
        if (counts != counts[0]).any():
            summed = sum_by_channel(self.tensor, self.site.channel_of, self.size)
            return (summed / counts.clamp_min(1)).movedim(-1, 1).unsqueeze(-1)
        order = torch.argsort(owner, stable=True)[int((owner < 0).sum()) :]
        laid = self.tensor[..., order].unflatten(-1, (self.size, -1))
        return laid.movedim(-2, 1)

    @property
    def rows(self) -> Tensor:
        """Each position of each sample by itself, shape (rows, channels)."""
        return self.maps.movedim(1, -1).flatten(0, -2)


def observe(context: Context, sites: Sites, take: Take) -> Tensor:
    """Run the model on the context's samples and hand on what is seen; their labels.

    Args:
        take: is given a group's name and what is seen at one of its sites, batch by
            batch; what it is given may change afterwards.
    """
    homes = _homes(sites)
    foldings = _foldings(context, homes)
    sizes = {group.name: group.size for group in context.graph.groups}
    labels: list[Tensor] = []
    model = on_device(context.model, context.device)
    for x, y in context.labelled():
        labels.append(y)

        def see(place: Reading, value: Tensor, samples: int = len(x)) -> None:
            for name, site in homes[place]:
                laid = _laid(value.cpu(), site, samples, foldings[place])
                if not torch.isfinite(laid).all():
                    message = f"What {name!r} makes of the data is NaN or infinite."
                    raise ScoreError(message)
                take(name, Seen(site, laid, sizes[name]))

        with torch.no_grad():
            held = x.to(context.device)
            run_with_hooks(model, context.graph.traced, held, homes, see)
    return torch.cat(labels)


@dataclass(frozen=True)
class Gated:
    """A batch that ran with every site behind a gate of its own.

    Attributes:
        outputs: of the network, shape (N, ...).
        labels: shape (N,).
    """

    outputs: Tensor
    labels: Tensor
    _values: Mapping[Reading, Tensor]
    _homes: Mapping[Reading, list[tuple[str, Site]]]
    _foldings: Mapping[Reading, _Folding]
    _sizes: Mapping[str, int]

    def flows(
        self, loss: Tensor, of: Callable[[Tensor, Tensor], Tensor], *, last: bool
    ) -> Iterator[tuple[str, Seen]]:
        """Yield what `of` computes from each value and its gradient, by group.

        Args:
            loss: a scalar that depends on the outputs.
            last: no other loss of this batch is asked for.
        """
        values = list(self._values.values())
        grads = torch.autograd.grad(
            loss,
            values,
            retain_graph=not last,
            allow_unused=True,
            materialize_grads=True,
        )
        for (place, value), grad in zip(self._values.items(), grads, strict=True):
            found = of(value.detach(), grad).cpu().double()
            for name, site in self._homes[place]:
                laid = _laid(found, site, len(self.labels), self._foldings[place])
                yield name, Seen(site, laid, self._sizes[name])


def gated(context: Context, sites: Sites) -> Iterator[Gated]:
    """Run the model on the context's samples, ready for gradients at the sites.

    A value that several operators read has a gate in front of each of them: what
    passes by on another way, as on a residual one, does not count.
    """
    homes = _homes(sites)
    foldings = _foldings(context, homes)
    sizes = {group.name: group.size for group in context.graph.groups}
    model = copied(context.model).to(context.device).requires_grad_(True)
    portions = replace(context, step=_affordable(context, homes))
    for x, y in portions.labelled():
        values: dict[Reading, Tensor] = {}
        with torch.enable_grad():
            see = partial(_gate, values)
            held = x.to(context.device)
            outputs = run_with_hooks(model, context.graph.traced, held, homes, see)
        yield Gated(outputs, y.to(outputs.device), values, homes, foldings, sizes)


def _affordable(context: Context, places: Iterable[Reading]) -> int:
    """Samples in one step whose values at the sites stay within a bound."""
    traced = len(context.graph.inputs[0])
    each = sum(4 * math.prod(result_shape(value)) for _, value in places) / traced
    return max(1, min(context.step, int(HELD_BYTES / max(each, 1))))


def _gate(values: dict[Reading, Tensor], place: Reading, value: Tensor) -> Tensor:
    """A copy that is read in the place of a value, and remembered."""
    copied = value.clone()
    values[place] = copied if copied.requires_grad else copied.requires_grad_(True)
    return values[place]


def consumer_inputs(context: Context) -> Sites:
    """Where each group's channels are read."""
    graph = context.graph
    return {group.name: graph.sites(group).consumer_inputs() for group in graph.groups}


def preactivations(context: Context) -> Sites:
    """Find the inputs of the non-linearity behind each group's layers."""
    graph = context.graph
    return {group.name: graph.sites(group).preactivations() for group in graph.groups}


def _homes(sites: Sites) -> dict[Reading, list[tuple[str, Site]]]:
    """Which groups can be seen at each place."""
    homes: dict[Reading, list[tuple[str, Site]]] = {}
    for name, found in sites.items():
        for site in found:
            homes.setdefault(site.place, []).append((name, site))
    return homes


@dataclass(frozen=True)
class _Folding:
    """Where the samples of a value are.

    Attributes:
        axis: along which; None where the value is the same for all samples.
        first: they come before what is folded into the same axis with them, as for
            windows of images; else behind it, as for steps of sequences.
    """

    axis: int | None
    first: bool = True


def _foldings(context: Context, places: Iterable[Reading]) -> dict[Reading, _Folding]:
    """Found by running two samples, and the same two twice."""
    assert context.batches is not None  # checked by the caller
    x = next(iter(context.batches))[0]
    two = torch.cat([x, x])[:2]
    seen: list[dict[Reading, Tensor]] = [{}, {}]
    for held, samples in zip(seen, (two, torch.cat([two, two])), strict=True):

        def keep(
            place: Reading, value: Tensor, held: dict[Reading, Tensor] = held
        ) -> None:
            held[place] = value.clone()

        with torch.no_grad():
            run_with_hooks(context.model, context.graph.traced, samples, places, keep)
    return {place: _folding(seen[0][place], seen[1][place]) for place in seen[0]}


def _folding(two: Tensor, four: Tensor) -> _Folding:
    grown = [
        axis
        for axis, (small, large) in enumerate(zip(two.shape, four.shape, strict=True))
        if large == 2 * small
    ]
    if not grown:
        return _Folding(None)
    axis = grown[0]
    both = [value.movedim(axis, 0) for value in (two, four)]
    others = len(both[0]) // 2
    if others == 1:
        return _Folding(axis)
    before = (both[1][: 2 * others] - both[0]).abs().sum()
    behind = both[1].unflatten(0, (others, 4))[:, :2].flatten(0, 1) - both[0]
    return _Folding(axis, first=bool(before <= behind.abs().sum()))


def _laid(value: Tensor, site: Site, samples: int, folding: _Folding) -> Tensor:
    """Samples first, the positions along the site's axes last."""
    others = [axis for axis in range(value.ndim) if axis not in site.axes]
    if folding.axis is None or folding.axis not in others:
        laid = value.permute(*others, *site.axes).flatten(len(others))
        return laid.expand(samples, *laid.shape)
    rest = [axis for axis in others if axis != folding.axis]
    laid = value.permute(folding.axis, *rest, *site.axes).flatten(len(others))
    if folding.first:
        return laid.unflatten(0, (samples, -1))
    return laid.unflatten(0, (-1, samples)).movedim(1, 0)
