"""Fits the layers of a smaller network, one after another, to given outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgeprune.graph.device import CPU, able
from edgeprune.graph.factored import LAST
from edgeprune.graph.stepwise import StepwiseInterpreter
from edgeprune.graph.trace import Trace
from edgeprune.progress import SILENT, Progress
from edgeprune.reconstruct.folded import weights_of, write_
from edgeprune.reconstruct.layers import Layer, layers_of
from edgeprune.reconstruct.least_squares import LayerFit, LeastSquares
from edgeprune.reconstruct.rows import made, read
from edgeprune.records import Surgery

SAMPLES = 4096
ROWS = (4096, 65536)  # positions at which layers are fitted: fewest and most
LARGEST = 8192  # numbers that a filter reads; equations of more take too long
WORK = 2.5e11  # multiplications for the sums of all layers, about
RIDGE = 1e-3
TURNS = 3  # at most ...
SETTLED = 0.05  # ... until what is wanted changes by no more of the squared error
MERGED = 4096  # rows that are multiplied at once, about

End = tuple[str, fx.Node]  # a layer's name, and the operator whose result counts


@dataclass(frozen=True)
class Fitting:
    """How layers are fitted.

    Attributes:
        samples: at most; as many as the memory has room for.
        ridge: of least squares, as a share of the mean square that is read.
        turns: how often what a rectifier cuts off is looked at again, at most.
        rows: positions at which each layer is fitted, about; None for as many as
            take some ten seconds.
        batch: samples that go through the networks at once; None for what suits them.
        device: where they run.
    """

    samples: int = SAMPLES
    batch: int | None = None
    ridge: float = RIDGE
    turns: int = TURNS
    rows: int | None = None
    seed: int = 0
    progress: Progress = SILENT
    device: torch.device = CPU


AS_USUAL = Fitting()


@dataclass(frozen=True)
class LayerPair:
    """A layer in both networks."""

    before: Layer
    after: Layer

    @property
    def key(self) -> End:
        """The layer of the original that it is compared with, and its end."""
        return self.before.name, self.before.end


@dataclass(frozen=True)
class LayerOutput:
    """The output of a layer at some positions of a batch.

    Attributes:
        at: the positions, shape (rows, 2).
        rows: shape (rows, channels).
    """

    at: Tensor
    rows: Tensor


def pair_layers(
    before: Mapping[str, Layer],
    new: Trace,
    state: Mapping[str, Tensor],
    surgery: Surgery,
) -> list[LayerPair]:
    """Layers that both have, in the order of the smaller one, but the largest.

    A factored layer makes in its last part what it made before.
    """
    last = {f"{layer}.{LAST}.weight": f"{layer}.weight" for layer in surgery.factored}
    return [
        LayerPair(before[path].alike(layer), layer.alike(before[path]))
        for name, layer in layers_of(new).items()
        if (path := last.get(name, name)) in before
        and math.prod(state[name].shape[1:]) <= LARGEST
    ]


def rows_for(state: Mapping[str, Tensor], pairs: list[LayerPair]) -> int:
    """Positions for each layer, so that all together take some seconds."""
    shapes = [weights_of(state, pair.after).shape for pair in pairs]
    work = sum(groups * read**2 for groups, _, read in shapes)
    fewest, most = ROWS
    return int(min(max(WORK / max(work, 1), fewest), most))


def fit_layer_(
    run: StepwiseInterpreter,
    state: Mapping[str, Tensor],
    layer: Layer,
    wanted: list[LayerOutput],
    how: Fitting,
) -> None:
    """Fit a layer on what those before it make by then.

    Args:
        run: that has come to it.
        state: what the run reads; the layer's weights are changed in place.
        wanted: for the first of the run's batches.
    """
    rows: list[_Rows] = []
    for number, part in enumerate(wanted):
        x = run.value(layer.arguments["input"], number)
        beside = torch.zeros_like(part.rows)
        for addend in layer.addends:
            value = run.value(addend, number)
            beside += made(value, layer.channels, part.at)
        held = read(layer, x, state[layer.name], part.at)
        rows.append(_Rows(able(held), able(part.rows), able(beside)))
    weights = weights_of(state, layer)
    write_(state, layer, *_fitted(layer, weights, _merged(rows), how))


@dataclass(frozen=True)
class _Rows:
    """The rows that a layer is fitted to.

    Attributes:
        read: shape (rows, groups, read).
        wanted, beside: what the sum is to be, and what others add to it, each of
            shape (rows, groups * made).
    """

    read: Tensor
    wanted: Tensor
    beside: Tensor


def _merged(rows: list[_Rows]) -> list[_Rows]:
    """The same rows, many at a time."""
    count = sum(len(part.read) for part in rows)
    each = -(-len(rows) * MERGED // max(count, 1))
    return [
        _Rows(
            torch.cat([part.read for part in some]),
            torch.cat([part.wanted for part in some]),
            torch.cat([part.beside for part in some]),
        )
        for some in (rows[start : start + each] for start in range(0, len(rows), each))
    ]


def _fitted(
    layer: Layer, weights: Tensor, rows: list[_Rows], how: Fitting
) -> tuple[LayerFit, LeastSquares]:
    """Least squares; behind a rectifier only what it lets pass has to be right.

    What it cuts off may be anything beyond its limit: in turns that is set to what the
    fit makes of it, and the fit made anew, until that changes little. Zhang et al.,
    "Accelerating Very Deep Convolutional Networks for Classification and Detection",
    2016, section 3.2.
    """
    shape, shifted = weights.shape[:2], layer.bias is not None or layer.norm is not None
    squares = LeastSquares(weights, how.ridge, shifted=shifted)
    wanted = [part.wanted - part.beside for part in rows]
    for part, some in zip(rows, wanted, strict=True):
        squares.add(part.read, some.unflatten(1, shape))
    fit = squares.fit()
    for _ in range(how.turns):
        if layer.limits is None:
            break
        before, change, error = wanted, 0.0, 0.0
        wanted = []
        for part, some in zip(rows, before, strict=True):
            found = fit(part.read).flatten(1)
            wanted.append(_allowed(part, found, layer.limits))
            change += float((wanted[-1] - some).square().sum())
            error += float((wanted[-1] - found).square().sum())
        if change <= SETTLED * error:
            break
        squares.want(
            (part.read, some.unflatten(1, shape))
            for part, some in zip(rows, wanted, strict=True)
        )
        fit = squares.fit()
    return fit, squares


def _allowed(part: _Rows, found: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return the wanted output, or the layer's own where both are beyond a limit."""
    lowest, highest = limits
    found = found + part.beside
    wanted = part.wanted
    wanted = torch.where(wanted <= lowest, found.clamp_max(lowest), wanted)
    wanted = torch.where(part.wanted >= highest, found.clamp_min(highest), wanted)
    return wanted - part.beside
