"""Which networks are probed: widths that are drawn, and then where least is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.graph.groups import ChannelGraph
from edgeprune.profile.fit import (
    LatencyFit,
    Probed,
    alike,
    design_of,
    missed_by,
    predict,
)
from edgeprune.profile.operators import Variant, operators_of
from edgeprune.records import Plan
from edgeprune.records.latency import Floats

NEAR = 0.35  # how far one group's share may be from that of its network
FEWEST = 0.1  # share of a group's channels
LITTLE = 1e-3  # of a term's square: what is known of it without a probe
NOISE = 1e-3  # of the whole time: what no fit of an operator explains


def draw_plans(graph: ChannelGraph, count: int, *, seed: int) -> list[Plan]:
    """Random widths; in every other network, all groups near one share.

    Which channels stay does not matter for time: the first ones do.
    """
    rng = np.random.default_rng(seed)
    plans: list[Plan] = []
    for number in range(count):
        share = rng.uniform(FEWEST, 1.0)
        kept: dict[str, tuple[int, ...]] = {}
        for group in graph.groups:
            low, high = (share - NEAR, share + NEAR) if number % 2 else (share / 2, 1.0)
            wanted = float(np.clip(rng.uniform(low, high), FEWEST, 1.0)) * group.size
            width = min(group.widths(), key=lambda step: abs(step - wanted))
            if width < group.size:
                kept[group.name] = tuple(range(width))
        plans.append(Plan(kept))
    return plans


def least_sure(
    found: LatencyFit, probed: Probed, pool: Sequence[Variant], count: int
) -> list[int]:
    """The networks of a pool, by their numbers, whose predictions are least sure.

    One after another, each as if those before it had been probed: a prediction's
    variance is that of least squares, by the terms of all operators.
    """
    curves = _curves(found, probed, pool)
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        variance = np.zeros(len(pool))
        for curve in curves:
            variance += curve.variance()
        variance[chosen] = -1.0
        chosen.append(int(variance.argmax()))
        for curve in curves:
            curve.see(chosen[-1])
    return chosen


class _Curve:
    """What is known of the curve that all operators of a signature share.

    Args:
        designs: of the operators in the pool's networks, each as a share of the whole,
            shape (operators, n, terms).
        seen: the same in the networks that were probed.
        noise: the variance that the curve leaves unexplained.
    """

    def __init__(self, designs: Floats, seen: Floats, noise: float) -> None:
        scale = np.maximum(np.abs(seen).max((0, 1)), np.abs(designs).max((0, 1)))
        scale = np.maximum(scale, 1e-30)
        self._designs, self._noise = designs / scale, noise
        rows = (seen / scale).reshape(-1, len(scale))
        self._square = rows.T @ rows + LITTLE * np.eye(len(scale))

    def variance(self) -> Floats:
        """Of the sum of its operators' times, shape (n,)."""
        rows = self._designs.sum(0)
        solved = np.linalg.solve(self._square, rows.T).T
        return self._noise * (rows * solved).sum(1)

    def see(self, number: int) -> None:
        """Go on as if a network of the pool had been probed."""
        rows = self._designs[:, number]
        self._square += rows.T @ rows


def _curves(found: LatencyFit, probed: Probed, pool: Sequence[Variant]) -> list[_Curve]:
    block, cache, samples = found.block, found.cache_bytes, probed.samples
    operators = operators_of(samples, probed.layers, probed.facts, block)
    fitted = iter(found.operators)  # in the same order
    whole, gone = predict(found, pool), missed_by(pool, cache)
    known, left = probed.whole, missed_by(samples, cache)
    curves: list[_Curve] = []
    for same in alike(operators).values():
        seen = np.stack([design_of(item, samples, left, block) for item in same])
        wrong = [
            (design @ np.array(next(fitted).weights) - item.seen.time) / known
            for item, design in zip(same, seen, strict=True)
        ]
        noise = float(np.mean(np.square(wrong))) + NOISE**2 / len(operators)
        ahead = np.stack([design_of(item, pool, gone, block) for item in same])
        curves.append(_Curve(ahead / whole[:, None], seen / known[:, None], noise))
    return curves
