"""Layer after layer is fitted to do what it did in the original network.

Each layer of the smaller network is given what its own predecessors make, and fitted
so that its output comes nearest to the original layer's; behind a residual layer, so
that the sum does. So each makes up for what those before it have lost. He et al.,
"Channel Pruning for Accelerating Very Deep Neural Networks", 2017, sections 3.1 to 3.2.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, fx, nn

from edgeprune.data import Batches
from edgeprune.graph.derived import DerivedTraces
from edgeprune.graph.device import CPU, on_device
from edgeprune.graph.forward import evaluating
from edgeprune.graph.labels import LabelArray
from edgeprune.graph.model_copy import copied
from edgeprune.graph.operations import operations
from edgeprune.graph.rules import result_shape
from edgeprune.graph.stepwise import (
    StepwiseInterpreter,
    peak_bytes,
    stops,
    trace_batch,
)
from edgeprune.graph.surgery import cut_state, cuts_of
from edgeprune.graph.trace import Trace, state_of
from edgeprune.reconstruct.fitted_run import Begun, FittedRun
from edgeprune.reconstruct.layer_fits import (
    AS_USUAL,
    End,
    Fitting,
    LayerOutput,
    LayerPair,
    fit_layer_,
    pair_layers,
    rows_for,
)
from edgeprune.reconstruct.layers import Layer, layers_of
from edgeprune.reconstruct.rows import drawn, made
from edgeprune.reconstruct.statistics import LARGE
from edgeprune.records import Surgery

BATCH = (4, 16, 64)  # samples that go through the networks at once
FULL = 8  # batches: what does not fill one is left out
MEMORY = 2 * 1024**3  # bytes that all samples' values may take at a time, about
RUNNING = 2.5e12  # operations for running both networks, about ...
FEWEST = 512  # ... on no fewer samples


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
    how: Fitting = AS_USUAL,
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
        how: Fitting = AS_USUAL,
        *,
        keeps: bool = True,
    ) -> None:
        self._original, self._data = on_device(original, how.device), data
        self._how, self._keeps = how, keeps
        first = next(_batches(data, how.batch or _batch(data, how.samples)))
        first = first.to(how.device)
        with evaluating(self._original):
            self._traced = trace_batch(self._original, first)
        self._derived = DerivedTraces(self._traced)
        self._layers = layers_of(self._traced)
        self._read = [first]
        self._count: int | None = None
        self._made: dict[End, list[LayerOutput]] = {}

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

    @property
    def samples(self) -> int:
        """That layers are fitted on, at most."""
        return self._how.samples

    def work(self, rows: int) -> float:
        """Multiplications for the sums of all layers at so many positions, about."""
        state = state_of(self._original)
        return float(
            sum(rows * math.prod(state[name].shape[1:]) ** 2 for name in self._layers)
        )

    def fitted(self, pruned: nn.Module, surgery: Surgery) -> Reconstructed:
        """A copy of a smaller network with its layers fitted.

        Args:
            surgery: from the original to the smaller one.

        Raises:
            TraceError: it does not run on the data.
        """
        fitted, progress = copied(pruned).to(self._how.device), self._how.progress
        new, held = trace_batch(fitted, self._read[0]), state_of(fitted)
        pairs = self._paired(new, held, surgery)
        state = {path: tensor.data for path, tensor in held.items()}
        progress.start("reconstruct", len(pairs))
        run = StepwiseInterpreter(new, state, self._read)
        for pair, wanted in zip(pairs, self._wanted(pairs, surgery), strict=True):
            run.up_to(pair.after.node)
            fit_layer_(run, state, pair.after, wanted, self._how)
            progress.advance(pair.after.name)
        samples = len(self._read) * len(self._read[0])
        progress.finish(f"{len(pairs)} layers on {samples} samples")
        return Reconstructed(fitted.to(CPU), len(pairs), samples)

    def begun(
        self,
        surgery: Surgery,
        pruned: Callable[[], nn.Module],
        judged: Sequence[Tensor],
        near: FittedRun | None = None,
        reach: int | None = None,
    ) -> Callable[[], FittedRun]:
        """A call that fits a smaller network's layers, without a module, and runs it.

        Whatever else is run beside it.

        Args:
            pruned: makes the module, where no run can be derived without it.
            judged: batches, as large as those that layers are fitted on.
            near: of a network that was cut from the same one: what is the same need
                not be fitted again.
            reach: only so many layers are, behind each difference to that one; None
                for all, as if there had been no other.

        Raises:
            TraceError: it does not run on the data.
        """
        new = self._derived.trace(surgery)
        if new is not None:
            held = cut_state(self._original, surgery)
        else:
            module = on_device(pruned(), self._how.device)
            new, held = trace_batch(module, self._read[0]), state_of(module)
        pairs = self._paired(new, held, surgery)
        begun = near.begun(new, surgery, pairs, reach) if near else Begun(pairs)
        state = {path: tensor.detach().clone() for path, tensor in held.items()}
        state |= begun.state
        batches = [*self._read, *judged]
        run = StepwiseInterpreter(new, state, batches, begun.snapshot)
        ends = [pair.after.node for pair in pairs]
        chosen = stops(new, ends, len(batches)) if reach is None else ()
        wanted = self._wanted(begun.left, surgery)

        def fitted() -> FittedRun:
            snapshots = [*begun.snapshots]
            for pair, outputs in zip(begun.left, wanted, strict=True):
                run.up_to(pair.after.node)
                if pair.after.node in chosen:
                    snapshots.append(run.snapshot())
                fit_layer_(run, state, pair.after, outputs, self._how)
            found = run.outputs()[len(self._read) :]
            return FittedRun(new, state, surgery, pairs, snapshots, torch.cat(found))

        return fitted

    def each_bytes(self, judged: int) -> int:
        """What the values of a run on so many batches take at a time, about."""
        return peak_bytes(self._traced) * (len(self._read) + judged)

    def _paired(
        self, new: Trace, state: Mapping[str, Tensor], surgery: Surgery
    ) -> list[LayerPair]:
        """The layers of a smaller network that are to be fitted."""
        pairs = pair_layers(self._layers, new, state, surgery)
        if self._count is None:
            self._settle(new, state, pairs)
        return pairs

    def _settle(
        self, new: Trace, state: Mapping[str, Tensor], pairs: list[LayerPair]
    ) -> None:
        """How many samples, and at how many positions of each."""
        size, first = len(self._read[0]), self._read[0][:1]
        room = MEMORY // max(peak_bytes(new), 1)
        both = 2 * operations(self._original, first)
        samples = min(self._how.samples, max(FEWEST, int(RUNNING / both)))
        count = max(1, min(room, samples // size))
        found = islice(_batches(self._data, size), count)
        self._read = [x.to(self._how.device) for x in found]
        rows = self._how.rows or rows_for(state, pairs)
        self._count = -(-rows // (len(self._read) * size))

    def _wanted(
        self, pairs: Sequence[LayerPair], surgery: Surgery
    ) -> Iterator[list[LayerOutput]]:
        """The original's outputs for each pair, in the channels that are left."""
        cuts = cuts_of(surgery)
        kept = {pair.key: cuts.get(pair.after.name, {}).get(0) for pair in pairs}
        if self._keeps:
            missing = [pair.before for pair in pairs if pair.key not in self._made]
            self._made |= self._looked_at(missing, {})
        else:
            self._made = self._looked_at([pair.before for pair in pairs], kept)
            kept = {}
        return (
            [
                replace(part, rows=_cut(part.rows, kept.get(pair.key)))
                for part in self._made[pair.key]
            ]
            for pair in pairs
        )

    def _looked_at(
        self, layers: list[Layer], kept: Mapping[End, LabelArray | None]
    ) -> dict[End, list[LayerOutput]]:
        """Run the original and keep its outputs at the ends of some layers."""
        assert self._count is not None  # settled by the caller
        order = list(self._layers)
        ends: dict[fx.Node, list[tuple[Layer, torch.Generator]]] = defaultdict(list)
        for layer in layers:
            seed = self._how.seed * len(order) + order.index(layer.name)
            ends[layer.end].append((layer, torch.Generator().manual_seed(seed)))
        found: dict[End, list[LayerOutput]] = defaultdict(list)
        for x in self._read if ends else ():
            run = StepwiseInterpreter(self._traced, state_of(self._original), [x])
            for node in [item for item in self._traced.nodes if item in ends]:
                run.through(node)
                for layer, generator in ends[node]:
                    key, shape = (layer.name, node), result_shape(layer.node)
                    at = drawn(shape, layer.channels, self._count, generator)
                    at = at.to(self._how.device)
                    rows = made(run.value(node, 0), layer.channels, at)
                    found[key].append(LayerOutput(at, _cut(rows, kept.get(key))))
        return found


def _cut(rows: Tensor, kept: LabelArray | None) -> Tensor:
    """Some channels of rows; all where it is not said which."""
    return rows if kept is None else rows[:, torch.as_tensor(kept, device=rows.device)]


def _places(layer: Layer) -> int:
    """Positions in what a layer makes of one sample."""
    shape = result_shape(layer.node)
    return math.prod(shape) // (shape[0] * shape[layer.channels])


def _batch(data: Batches, samples: int) -> int:
    """How many samples go through a network at once: of small ones, more."""
    large, few, many = BATCH
    count = 0
    for x, _ in data:
        count += len(x)
        if x[0].numel() > LARGE:
            return large
        if count >= min(samples, FULL * many):
            break
    return many if count >= FULL * many else few


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
