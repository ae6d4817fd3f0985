"""From probes to a latency table: how each operator's time follows its widths.

The probes are the network itself at other widths, timed whole and by operator in the
runtime's own profile. So every operator is seen as it will run: fused, in the
runtime's layout, with the caches as its neighbours leave them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import nnls

from edgeprune.measure.onnx_file import NodeFacts
from edgeprune.profile.operators import (
    Operator,
    Sample,
    Signature,
    Variant,
    operators_of,
    widths_at,
)
from edgeprune.records.latency import Floats, OperatorTime, missed, terms

BLOCKS = (1, 4, 8, 16, 32)
CACHES = (np.inf, *(2.0 ** np.arange(20.0, 27.5, 0.5)), 0.0)  # bytes
SPREAD = 1.5  # from the median absolute deviation to about a standard deviation
OUTLIER = 3.0  # standard deviations
LEAST_ERROR = 0.005  # of the whole; nothing nearer than that is an outlier
OWN = 4.0  # probes that say as much of an operator as its signature does
FOLDS = 5


@dataclass(frozen=True)
class Known:
    """What was seen of a signature in other networks on the same device.

    Attributes:
        read, made: widths, shape (n,); 0 where they are always the same.
        time_ms: shape (n,).
        weight_bytes: of the networks, shape (n,).
        reference_ms: the time of the network that is fitted now, at full width.
    """

    read: Floats
    made: Floats
    time_ms: Floats
    weight_bytes: Floats
    reference_ms: float

    def design(self, cache: float, block: int) -> Floats:
        """The terms of the times, shape (n, terms)."""
        read, made = (
            np.where(widths > 0, widths, block) for widths in (self.read, self.made)
        )
        return terms(read, made, missed(self.weight_bytes, cache), block)

    @property
    def time(self) -> Floats:
        """In shares of the network that is fitted now, shape (n,)."""
        return self.time_ms / self.reference_ms


Library = Mapping[Signature, Known]


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


@dataclass(frozen=True)
class Probed:
    """The probes of a network, and what its file says of its layers.

    Attributes:
        layers: from a value in the ONNX file to the weight whose layer made it.
        facts: of the layers' nodes, by weight.
    """

    samples: Sequence[Sample]
    layers: Mapping[str, str]
    facts: Mapping[str, NodeFacts] = field(default_factory=dict)

    def of(self, rows: Sequence[int]) -> Probed:
        """The same of some probes."""
        return replace(self, samples=[self.samples[row] for row in rows])

    @property
    def whole(self) -> Floats:
        """The time of each network, in shares of the reference's."""
        return np.array([sample.probe.share for sample in self.samples])


def missed_by(samples: Sequence[Variant], cache: float) -> Floats:
    """The share of each network's weights that a cache does not hold, shape (n,)."""
    sizes = np.array([float(sample.weight_bytes) for sample in samples])
    return missed(sizes, cache)


def fit(probed: Probed, library: Library | None = None) -> LatencyFit:
    """Fit each operator's time, and scale the sum to the networks' whole times.

    The block and the cache are those that explain the probes best.
    """
    seen = {
        block: operators_of(probed.samples, probed.layers, probed.facts, block)
        for block in BLOCKS
    }
    known = library or {}
    plain = [_fit(probed, seen[block], known, block, np.inf) for block in BLOCKS]
    block = min(plain, key=lambda found: found.loss).block
    cached = [_fit(probed, seen[block], known, block, cache) for cache in CACHES]
    best = min(cached, key=lambda found: found.loss)
    return replace(best, operators=_calibrated(best, probed))


def left_out(found: LatencyFit, probed: Probed, library: Library) -> Floats:
    """Relative errors for each probe of a fit that has not seen it, shape (n,).

    Block and cache are those of the whole fit.
    """
    count = len(probed.samples)
    errors = np.zeros(count)
    for fold in range(min(FOLDS, count)):
        out = list(range(fold, count, FOLDS))
        rest = probed.of([row for row in range(count) if row not in out])
        seen = operators_of(rest.samples, rest.layers, rest.facts, found.block)
        part = _fit(rest, seen, library, found.block, found.cache_bytes)
        part = replace(part, operators=_calibrated(part, rest))
        errors[out] = errors_of(part, probed.of(out))
    return errors


def errors_of(found: LatencyFit, probed: Probed) -> Floats:
    """Relative errors of a fit, shape (n,)."""
    return predict(found, probed.samples) / probed.whole - 1


def predict(found: LatencyFit, samples: Sequence[Variant]) -> Floats:
    """The whole time of each network, by a fit, shape (n,)."""
    gone = missed_by(samples, found.cache_bytes)
    total = np.zeros(len(samples))
    for item in found.operators:
        read, made = (
            widths_at(samples, place, found.block) for place in (item.read, item.made)
        )
        total += terms(read, made, gone, found.block) @ np.array(item.weights)
    return total


def _fit(
    probed: Probed,
    operators: Sequence[Operator],
    library: Library,
    block: int,
    cache: float,
) -> LatencyFit:
    """One curve for each signature, and a factor for each operator of it."""
    gone, relative = missed_by(probed.samples, cache), 1 / probed.whole
    loss = 0.0
    found: list[OperatorTime] = []
    for signature, same in alike(operators).items():
        designs = [design_of(item, probed.samples, gone, block) for item in same]
        times = [item.seen.time for item in same]
        shares = [relative] * len(same)
        if (known := library.get(signature)) is not None:
            designs = [*designs, known.design(cache, block)]
            times = [*times, known.time]
            shares = [*shares, np.full(len(known.time), relative.mean())]
        weights = _robust(*map(np.concatenate, (designs, times, shares)))
        for item, design in zip(same, designs, strict=False):
            predicted, time = design @ weights * relative, item.seen.time * relative
            factor = _factor(predicted, time) if len(same) > 1 else 1.0
            loss += float(np.square(factor * predicted - time).sum())
            found.append(
                OperatorTime(
                    item.key[0],
                    item.key[1],
                    item.read,
                    item.made,
                    tuple(factor * weights),
                )
            )
    return LatencyFit(block, cache, tuple(found), loss)


def alike(operators: Sequence[Operator]) -> dict[Signature, list[Operator]]:
    """The operators by signature."""
    found: defaultdict[Signature, list[Operator]] = defaultdict(list)
    for item in operators:
        found[item.signature].append(item)
    return found


def design_of(
    item: Operator, samples: Sequence[Variant], gone: Floats, block: int
) -> Floats:
    """The terms of an operator's time in each network, shape (n, terms)."""
    read, made = (widths_at(samples, at, block) for at in (item.read, item.made))
    return terms(read, made, gone, block)


def _factor(predicted: Floats, time: Floats) -> float:
    """An operator's time beside the others' of its signature; near 1 from few probes.

    What stands before an operator leaves the caches in another state.
    """
    square = float(predicted @ predicted)
    weight = OWN / len(time)
    if square == 0:
        return 1.0
    return (float(predicted @ time) + weight * square) / (square * (1 + weight))


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


def _calibrated(found: LatencyFit, probed: Probed) -> tuple[OperatorTime, ...]:
    """Bring the sums to the whole times, by a factor and a constant per operator.

    The profiler slows every operator, and does not see what lies between them.
    """
    whole = probed.whole
    design = np.stack([predict(found, probed.samples) / whole, 1 / whole], axis=1)
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
