"""Layer after layer is fitted to do what it did in the original network.

Each layer of the smaller network is given what its own predecessors make, and fitted
so that its output comes nearest to the original layer's; behind a residual layer, so
that the sum does. So each makes up for what those before it have lost. He et al.,
"Channel Pruning for Accelerating Very Deep Neural Networks", 2017, sections 3.1 to 3.2.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, fx, nn

from edgeprune.data import Batches
from edgeprune.graph.factored import LAST
from edgeprune.graph.labels import LabelArray
from edgeprune.graph.rules import result_shape
from edgeprune.graph.stepping import Stepper, peak_bytes, trace_batch
from edgeprune.graph.surgery import cuts_of
from edgeprune.graph.trace import Trace, evaluating, state_of
from edgeprune.progress import SILENT, Progress
from edgeprune.reconstruct.folded import weights_of, write_
from edgeprune.reconstruct.layers import Layer, layers_of
from edgeprune.reconstruct.least_squares import Fit, Sums
from edgeprune.reconstruct.rows import drawn, made, read
from edgeprune.records import Surgery

BATCH = 16  # samples that go through the networks at once
SAMPLES = 4096
MEMORY = 2 * 1024**3  # bytes that all samples' values may take at a time, about
ROWS = (4096, 65536)  # positions at which layers are fitted: fewest and most
LARGEST = 8192  # numbers that a filter reads; equations of more take too long
WORK = 5e11  # multiplications for the sums of all layers, about
RIDGE = 1e-3
TURNS = 3

_End = tuple[str, fx.Node]  # a layer's name, and the operator whose result counts


@dataclass(frozen=True)
class Fitting:
    """How layers are fitted.

    Attributes:
        samples: at most; as many as the memory has room for.
        ridge: of least squares, as a share of the mean square that is read.
        turns: how often what a rectifier cuts off is looked at again.
        rows: positions at which each layer is fitted, about; None for as many as
            take some ten seconds.
    """

    samples: int = SAMPLES
    ridge: float = RIDGE
    turns: int = TURNS
    rows: int | None = None
    seed: int = 0
    progress: Progress = SILENT


@dataclass(frozen=True)
class Reconstructed:
    """A network whose layers were fitted.

    Attributes:
        samples: that they were fitted on.
    """

    model: nn.Module
    layers: int
    samples: int


def reconstruct(
    original: nn.Module,
    pruned: nn.Module,
    surgery: Surgery,
    data: Batches,
    how: Fitting = Fitting(),
) -> Reconstructed:
    """A copy of a smaller network with its layers fitted; labels are not looked at.

    Args:
        surgery: from the original to the smaller one.

    Raises:
        TraceError: one of them does not run on the data.
    """
    return Reference(original, data, how, keeps=False).fitted(pruned, surgery)


class Reference:
    """A network that smaller ones are fitted to, one after another.

    All are fitted on the same samples, as many as the first one has room for, and at
    the same positions.

    Args:
        keeps: what was read of the original, for the next one; else no more of it is
            in memory than one network asks for.

    Raises:
        TraceError: it does not run on the data.
    """

    def __init__(
        self,
        original: nn.Module,
        data: Batches,
        how: Fitting = Fitting(),
        *,
        keeps: bool = True,
    ) -> None:
        self._original, self._data = original, data
        self._how, self._keeps = how, keeps
        first = next(_batches(data, BATCH))
        with evaluating(original):
            self._traced = trace_batch(original, first)
        self._layers = layers_of(self._traced)
        self._read = [first]
        self._count: int | None = None
        self._made: dict[_End, list[_Made]] = {}

    def determines(self, rows: int) -> bool:
        """Whether each layer has twice as many positions as one filter reads.

        Args:
            rows: positions at which each layer is to be fitted.
        """
        state, samples = state_of(self._original), self._how.samples
        return all(
            2 * math.prod(state[name].shape[1:])
            <= samples * min(-(-rows // samples), _places(layer))
            for name, layer in self._layers.items()
        )

    def fitted(self, pruned: nn.Module, surgery: Surgery) -> Reconstructed:
        """A copy of a smaller network with its layers fitted.

        Args:
            surgery: from the original to the smaller one.

        Raises:
            TraceError: it does not run on the data.
        """
        fitted = copy.deepcopy(pruned)
        with evaluating(self._original), evaluating(fitted):
            new, state = trace_batch(fitted, self._read[0]), state_of(fitted)
            pairs = _pairs(self._layers, new, state, surgery)
            self._how.progress.start("reconstruct", len(pairs))
            if self._count is None:
                self._settle(new, state, pairs)
            wanted = self._wanted(pairs, surgery)
            _fit_(new, state, pairs, wanted, self._read, self._how)
        samples = len(self._read) * len(self._read[0])
        self._how.progress.finish(f"{len(pairs)} layers on {samples} samples")
        return Reconstructed(fitted, len(pairs), samples)

    def _settle(
        self, new: Trace, state: Mapping[str, Tensor], pairs: list[_Pair]
    ) -> None:
        """How many samples, and at how many positions of each."""
        size = len(self._read[0])
        room = MEMORY // max(peak_bytes(new), 1)
        count = max(1, min(room, self._how.samples // size))
        self._read = list(islice(_batches(self._data, size), count))
        rows = self._how.rows or _rows(state, pairs)
        self._count = -(-rows // (len(self._read) * size))

    def _wanted(self, pairs: list[_Pair], surgery: Surgery) -> Iterator[list[_Made]]:
        """What the original makes of each batch, in channels that are left: by pair."""
        cuts = cuts_of(surgery)
        kept = {pair.key: cuts.get(pair.after.name, {}).get(0) for pair in pairs}
        if self._keeps:
            missing = [pair.before for pair in pairs if pair.key not in self._made]
            self._made |= self._looked_at(missing, {})
        else:
            self._made = self._looked_at([pair.before for pair in pairs], kept)
            kept = {}
        for pair in pairs:
            channels = kept.get(pair.key)
            yield [
                replace(part, rows=_cut(part.rows, channels))
                for part in self._made[pair.key]
            ]

    def _looked_at(
        self, layers: list[Layer], kept: Mapping[_End, LabelArray | None]
    ) -> dict[_End, list[_Made]]:
        """What the original makes at the ends of some layers, in the channels kept."""
        assert self._count is not None  # settled by the caller
        order = list(self._layers)
        ends: dict[fx.Node, list[tuple[Layer, torch.Generator]]] = defaultdict(list)
        for layer in layers:
            seed = self._how.seed * len(order) + order.index(layer.name)
            ends[layer.end].append((layer, torch.Generator().manual_seed(seed)))
        found: dict[_End, list[_Made]] = defaultdict(list)
        for x in self._read if ends else ():
            run = Stepper(self._traced, state_of(self._original), [x])
            for node in [item for item in self._traced.nodes if item in ends]:
                run.through(node)
                for layer, generator in ends[node]:
                    key, shape = (layer.name, node), result_shape(layer.node)
                    at = drawn(shape, layer.channels, self._count, generator)
                    rows = made(run.value(node, 0), layer.channels, at)
                    found[key].append(_Made(at, _cut(rows, kept.get(key))))
        return found


def _cut(rows: Tensor, kept: LabelArray | None) -> Tensor:
    """Some channels of rows; all where it is not said which."""
    return rows if kept is None else rows[:, torch.as_tensor(kept)]


def _places(layer: Layer) -> int:
    """Positions in what a layer makes of one sample."""
    shape = result_shape(layer.node)
    return math.prod(shape) // (shape[0] * shape[layer.channels])


def _batches(data: Batches, size: int) -> Iterator[Tensor]:
    """Inputs in batches of one size; all that there are if they are fewer."""
    held: list[Tensor] = []
    some = False
    for x, _ in data:
        held = [torch.cat([*held, x])]
        while len(held[0]) >= size:
            yield held[0][:size]
            some, held = True, [held[0][size:]]
    if not some:
        yield held[0]


@dataclass(frozen=True)
class _Pair:
    """A layer in both networks."""

    before: Layer
    after: Layer

    @property
    def key(self) -> _End:
        """What of the original it is held against."""
        return self.before.name, self.before.end


@dataclass(frozen=True)
class _Made:
    """What a layer makes at some positions of a batch.

    Attributes:
        at: the positions, shape (rows, 2).
        rows: shape (rows, channels).
    """

    at: Tensor
    rows: Tensor


def _pairs(
    before: Mapping[str, Layer],
    new: Trace,
    state: Mapping[str, Tensor],
    surgery: Surgery,
) -> list[_Pair]:
    """Layers that both have, in the order of the smaller one, but the largest.

    A factored layer makes in its last part what it made before.
    """
    last = {f"{layer}.{LAST}.weight": f"{layer}.weight" for layer in surgery.factored}
    return [
        _Pair(before[path].alike(layer), layer.alike(before[path]))
        for name, layer in layers_of(new).items()
        if (path := last.get(name, name)) in before
        and math.prod(state[name].shape[1:]) <= LARGEST
    ]


def _rows(state: Mapping[str, Tensor], pairs: list[_Pair]) -> int:
    """Positions for each layer, so that all together take some seconds."""
    shapes = [weights_of(state, pair.after).shape for pair in pairs]
    work = sum(groups * read**2 for groups, _, read in shapes)
    fewest, most = ROWS
    return int(min(max(WORK / max(work, 1), fewest), most))


def _fit_(
    new: Trace,
    state: Mapping[str, Tensor],
    pairs: list[_Pair],
    wanted: Iterable[list[_Made]],
    batches: list[Tensor],
    how: Fitting,
) -> None:
    """Fit layer after layer, on what those before it make by then."""
    state = {path: tensor.data for path, tensor in state.items()}
    run = Stepper(new, state, batches)
    for pair, parts in zip(pairs, wanted, strict=True):
        layer = pair.after
        run.up_to(layer.node)
        rows: list[_Rows] = []
        for number, part in enumerate(parts):
            x = run.value(layer.arguments["input"], number)
            beside = torch.zeros_like(part.rows)
            for addend in layer.addends:
                value = run.value(addend, number)
                beside += made(value, layer.channels, part.at)
            held = read(layer, x, state[layer.name], part.at)
            rows.append(_Rows(held, part.rows, beside))
        sums, fit = _fitted(layer, weights_of(state, layer), rows, how)
        write_(state, layer, fit, sums)
        how.progress.advance(layer.name)


@dataclass(frozen=True)
class _Rows:
    """What a layer is fitted to.

    Attributes:
        read: shape (rows, groups, read).
        wanted, beside: what the sum is to be, and what others add to it, each of
            shape (rows, groups * made).
    """

    read: Tensor
    wanted: Tensor
    beside: Tensor


def _fitted(
    layer: Layer, weights: Tensor, rows: list[_Rows], how: Fitting
) -> tuple[Sums, Fit]:
    """Least squares; behind a rectifier only what it lets pass has to be right.

    What it cuts off may be anything beyond its limit: in turns that is set to what the
    fit makes of it, and the fit made anew. Zhang et al., "Accelerating Very Deep
    Convolutional Networks for Classification and Detection", 2016, section 3.2.
    """
    sums, shape = Sums(weights.shape), weights.shape[:2]
    shifted = layer.bias is not None or layer.norm is not None
    for part in rows:
        sums.add(part.read, (part.wanted - part.beside).unflatten(1, shape))
    fit = sums.fit(weights, how.ridge, shifted=shifted)
    for _ in range(how.turns):
        if layer.limits is None:
            break
        allowed = [_allowed(part, fit, layer.limits) for part in rows]
        sums.want(
            (part.read, some.unflatten(1, shape))
            for part, some in zip(rows, allowed, strict=True)
        )
        fit = sums.fit(weights, how.ridge, shifted=shifted)
    return sums, fit


def _allowed(part: _Rows, fit: Fit, limits: tuple[float, float]) -> Tensor:
    """What is wanted, or what is made where both are beyond a limit."""
    lowest, highest = limits
    found = fit(part.read).flatten(1) + part.beside
    wanted = part.wanted
    wanted = torch.where(wanted <= lowest, found.clamp_max(lowest), wanted)
    wanted = torch.where(part.wanted >= highest, found.clamp_min(highest), wanted)
    return wanted - part.beside
