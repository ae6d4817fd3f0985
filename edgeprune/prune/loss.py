"""From scores and measured sensitivity to what every width and every block loses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edgeprune.records import Sensitivity


@dataclass(frozen=True)
class Loss:
    """The loss of a choice; comparable between groups and blocks.

    Attributes:
        widths: by group, of keeping w channels, for w = 0 .. its size.
        blocks: by module, of leaving it out.
    """

    widths: Mapping[str, Sequence[float]]
    blocks: Mapping[str, float]

    def of(self, widths: Mapping[str, int], bypassed: Sequence[str]) -> float:
        """The sum over a choice; groups that are not named are gone with a block."""
        return sum(self.widths[name][width] for name, width in widths.items()) + sum(
            self.blocks[name] for name in bypassed
        )


def lost(scores: Tensor) -> list[float]:
    """Loss of keeping the best w channels by scores alone, for w = 0 .. channels.

    The lowest scores go first. Each counts for more the fewer are left: what remains
    has to do the work of what went.
    """
    size = len(scores)
    rising = sorted(scores.tolist())
    losses, total = [0.0] * (size + 1), 0.0
    for gone, score in enumerate(rising):
        total += score * size / (size - gone)
        losses[size - gone - 1] = total
    return losses


def losses_of(scores: Mapping[str, Tensor], measured: Sensitivity) -> Loss:
    """Losses by scores, brought to what was measured where something was."""
    curves = {name: lost(values) for name, values in scores.items()}
    points: dict[str, dict[int, float]] = {name: {} for name in curves}
    for item in measured.groups:
        points[item.name][item.width] = item.loss
    return Loss(
        {name: through(curve, points[name]) for name, curve in curves.items()},
        dict(measured.blocks),
    )


def through(curve: Sequence[float], points: Mapping[int, float]) -> list[float]:
    """A falling curve bent so that it passes through measured points.

    Between two of them it keeps its shape; below the narrowest it is scaled.

    Args:
        curve: loss by width, 0 at the full one.
        points: loss by width; brought into falling order where noise disturbs it.
    """
    if not points:
        return list(curve)
    size = len(curve) - 1
    widths = sorted({*points, size}, reverse=True)
    losses = list(
        itertools.accumulate((points.get(width, 0.0) for width in widths), max)
    )
    found = np.zeros(size + 1)
    for (high, above), (low, below) in itertools.pairwise(
        zip(widths, losses, strict=True)
    ):
        span = curve[low] - curve[high]
        for width in range(low, high):
            part = (
                (curve[width] - curve[high]) / span
                if span > 0
                else (high - width) / (high - low)
            )
            found[width] = above + (below - above) * part
    narrowest = widths[-1]
    for width in range(narrowest):
        times = curve[width] / curve[narrowest] if curve[narrowest] > 0 else 1.0
        found[width] = losses[-1] * times
    return found.tolist()
