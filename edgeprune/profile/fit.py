"""From probes to a latency table: which widths an operator's time follows, and how.

The probes are the network itself at other widths, timed whole and by operator in the
runtime's own profile. So every operator is seen as it will run: fused, in the
runtime's layout, with the caches as its neighbours leave them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from edgeprune.measure.onnx_file import layer_of_node
from edgeprune.measure.runner import Probe
from edgeprune.records.latency import Floats, OperatorTime, WidthPlace, missed, terms

Key = tuple[str, str, int]  # the layer, the kind of operator, the how manyth of it
BLOCKS = (1, 4, 8, 16, 32)
CACHES = (np.inf, *(2.0 ** np.arange(20.0, 27.5, 0.5)), 0.0)  # bytes
SPREAD = 1.5  # from the median absolute deviation to about a standard deviation
OUTLIER = 3.0  # standard deviations
LEAST_ERROR = 0.005  # of the whole; nothing nearer than that is an outlier


@dataclass(frozen=True)
class Sample:
    """One probe.

    Attributes:
        widths: length of every parameter axis.
        weight_bytes: of all parameters.
    """

    widths: Mapping[WidthPlace, int]
    weight_bytes: int
    probe: Probe


@dataclass(frozen=True)
class LatencyFit:
    """How the probes are explained best.

    Attributes:
        loss: summed squares of errors, each a share of the whole network's time.
    """

    block: int
    cache_bytes: float
    operators: tuple[OperatorTime, ...]
    loss: float


@dataclass
class _Seen:
    """The measurements of one operator; a row for each probe."""

    time: Floats
    read: list[tuple[int, ...]]
    made: list[tuple[int, ...]]


def fit(samples: Sequence[Sample], layers: Mapping[str, str]) -> LatencyFit:
    """Fit each operator's time, and scale the sum to the networks' whole times.

    The block and the cache are those that explain the probes best.

    Args:
        layers: from a value in the ONNX file to the weight whose layer made it.
    """
    seen = _operators(samples, layers)
    columns = _columns(samples)
    places = {block: _places(seen, columns, block) for block in BLOCKS}
    plain = [_fit(samples, seen, places[block], block, np.inf) for block in BLOCKS]
    block = min(plain, key=lambda found: found.loss).block
    cached = [_fit(samples, seen, places[block], block, cache) for cache in CACHES]
    best = min(cached, key=lambda found: found.loss)
    return replace(best, operators=_calibrated(best, samples))


def predict(found: LatencyFit, samples: Sequence[Sample]) -> Floats:
    """The whole time of each sample's network, by a fit."""
    gone = _missed(samples, found.cache_bytes)
    total = np.zeros(len(samples))
    for item in found.operators:
        widths = (
            _widths(samples, item.read, found.block),
            _widths(samples, item.made, found.block),
        )
        total += terms(*widths, gone, found.block) @ np.array(item.weights)
    return total


def _operators(
    samples: Sequence[Sample], layers: Mapping[str, str]
) -> dict[Key, _Seen]:
    """Times and shapes by operator; one that a probe lacks took no time there."""
    count = len(samples)
    seen: dict[Key, _Seen] = {}
    for row, sample in enumerate(samples):
        counted: defaultdict[tuple[str, str], int] = defaultdict(int)
        layer = ""
        for node in sample.probe.nodes:
            layer = layer_of_node(node.name, layers, layer)
            key = (layer, node.operator, counted[layer, node.operator])
            counted[layer, node.operator] += 1
            empty = _Seen(np.zeros(count), [()] * count, [()] * count)
            rows = seen.setdefault(key, empty)
            rows.time[row] = node.latency_ms
            rows.read[row], rows.made[row] = node.read, node.made
    return seen


def _places(
    seen: Mapping[Key, _Seen], columns: Mapping[WidthPlace, Floats], block: int
) -> list[tuple[WidthPlace | None, WidthPlace | None]]:
    """Find the axes whose widths give each operator's input and output channels."""
    return [
        (
            _place(rows.read, columns, layer, block),
            _place(rows.made, columns, layer, block),
        )
        for (layer, _, _), rows in seen.items()
    ]


def _fit(
    samples: Sequence[Sample],
    seen: Mapping[Key, _Seen],
    places: Sequence[tuple[WidthPlace | None, WidthPlace | None]],
    block: int,
    cache: float,
) -> LatencyFit:
    gone = _missed(samples, cache)
    relative = 1 / np.array([sample.probe.share for sample in samples])
    loss = 0.0
    found: list[OperatorTime] = []
    for ((layer, operator, _), rows), (read, made) in zip(
        seen.items(), places, strict=True
    ):
        widths = _widths(samples, read, block), _widths(samples, made, block)
        design = terms(*widths, gone, block)
        weights = _robust(design, rows.time, relative)
        loss += float(np.square((design @ weights - rows.time) * relative).sum())
        found.append(OperatorTime(layer, operator, read, made, tuple(weights)))
    return LatencyFit(block, cache, tuple(found), loss)


def _missed(samples: Sequence[Sample], cache: float) -> Floats:
    sizes = np.array([float(sample.weight_bytes) for sample in samples])
    return missed(sizes, cache)


def _widths(
    samples: Sequence[Sample], place: WidthPlace | None, block: int = 0
) -> Floats:
    """The width at a place over the probes; one block where it is always the same."""
    return np.array([float(item.widths[place] if place else block) for item in samples])


def _columns(samples: Sequence[Sample]) -> dict[WidthPlace, Floats]:
    """The width of each parameter axis over the probes, where it is not constant."""
    found = {place: _widths(samples, place) for place in samples[0].widths}
    return {place: column for place, column in found.items() if np.ptp(column)}


def _place(
    shapes: Sequence[tuple[int, ...]],
    columns: Mapping[WidthPlace, Floats],
    layer: str,
    block: int,
) -> WidthPlace | None:
    """The parameter axis whose width a shape follows, one of its own layer first."""
    rows = [index for index, shape in enumerate(shapes) if shape]
    if len({len(shapes[row]) for row in rows}) != 1:
        return None
    sizes = np.array([shapes[row] for row in rows], dtype=float)
    own = [place for place in columns if place[0] == layer]
    for axis in np.flatnonzero(np.ptp(sizes, axis=0)):
        size = sizes[:, axis]
        for places in (own, columns):
            fitting = [
                place for place in places if _follows(size, columns[place][rows], block)
            ]
            if fitting:
                return max(
                    fitting, key=lambda place: (size == columns[place][rows]).sum()
                )
    return None


def _follows(size: Floats, width: Floats, block: int) -> bool:
    """Whether a size is a width in whole blocks, or a multiple of it (flattened)."""
    equal = np.ceil(size / block) == np.ceil(width / block)
    return bool(equal.all() or np.ptp(size / width) == 0)


def _robust(design: Floats, time: Floats, relative: Floats) -> Floats:
    """Least squares with weights that are not negative, without what lies far out."""
    scale = np.maximum(design.max(0), 1e-30)
    scaled = design / scale * relative[:, None]
    stays = np.ones(len(time), dtype=bool)
    weights = np.zeros(design.shape[1])
    for _ in range(2):
        weights, _ = nnls(scaled[stays], (time * relative)[stays])
        error = np.abs(time * relative - scaled @ weights)
        limit = OUTLIER * SPREAD * float(np.median(error))
        stays = error <= max(limit, LEAST_ERROR)
    return weights / scale


def _calibrated(
    found: LatencyFit, samples: Sequence[Sample]
) -> tuple[OperatorTime, ...]:
    """Bring the sums to the whole times, by a factor and a constant per operator.

    The profiler slows every operator, and does not see what lies between them.
    """
    whole = np.array([sample.probe.share for sample in samples])
    design = np.stack([predict(found, samples) / whole, 1 / whole], axis=1)
    stays = np.ones(len(whole), dtype=bool)
    solution = np.array([1.0, 0.0])
    for _ in range(2):
        solution = np.linalg.lstsq(design[stays], np.ones(stays.sum()))[0]
        error = np.abs(design @ solution - 1)
        limit = OUTLIER * SPREAD * float(np.median(error))
        stays = error <= max(limit, LEAST_ERROR)
    factor, constant = solution.tolist()
    each = constant / len(found.operators)
    return tuple(
        replace(
            item,
            weights=(
                item.weights[0] * factor + each,
                *(weight * factor for weight in item.weights[1:]),
            ),
        )
        for item in found.operators
    )
