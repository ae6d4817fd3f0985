"""The layers of a network before and after, in the order in which data pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.records import ModelFigures
from edgeprune.report.chart import NARROW, WIDE
from edgeprune.report.nearness import Nearness, nearness_by_name

FIRST = 12  # layers whose times are shown at once
HEIGHT, FOOT = 150, 18  # pixels of the picture, and of the text under it
BETWEEN = 0.25  # of a column, free
TICK = 8  # columns apart at least, where names stand


@dataclass(frozen=True)
class LayerChange:
    """A layer before and after.

    Attributes:
        after: channels; 0 where the layer is gone.
        ms_after: of its time; 0 where the layer is gone.
        near: how near it runs to the roofline afterwards; None where nobody knows.
    """

    name: str
    before: int
    after: int
    ms_before: float | None
    ms_after: float | None
    near: Nearness | None = None

    @property
    def share(self) -> float:
        """The channels that stay."""
        return self.after / self.before


@dataclass(frozen=True)
class Column:
    """A layer in the picture, in pixels."""

    x: float
    width: float
    whole: float
    kept: float
    title: str


@dataclass(frozen=True)
class Skyline:
    """A picture of a network: columns as high as layers are wide."""

    width: int
    columns: tuple[Column, ...]

    @property
    def kind(self) -> str:
        """Its class on the page."""
        return "for-wide" if self.width == WIDE else "for-narrow"

    @property
    def bottom(self) -> int:
        """Where columns stand."""
        return HEIGHT - FOOT


def changes(before: ModelFigures, after: ModelFigures) -> list[LayerChange]:
    """Each layer that was there at the beginning, by its name."""
    left, near = {layer.name: layer for layer in after.layers}, nearness_by_name(after)
    found: list[LayerChange] = []
    for layer in before.layers:
        now = left.get(layer.name)
        found.append(
            LayerChange(
                layer.name.removesuffix(".weight"),
                layer.channels,
                0 if now is None else now.channels,
                layer.latency_ms,
                0.0 if now is None else now.latency_ms,
                near.get(layer.name),
            )
        )
    return found


def skylines(layers: Sequence[LayerChange]) -> list[Skyline]:
    """For wide screens, and for phones."""
    if not layers:
        return []
    most = max(max(layer.before, layer.after) for layer in layers)
    scale = (HEIGHT - FOOT - 4) / most
    made: list[Skyline] = []
    for width in (WIDE, NARROW):
        step = width / len(layers)
        columns = (
            Column(
                round(at * step, 2),
                round(step * (1 - BETWEEN), 2),
                round(layer.before * scale, 1),
                round(layer.after * scale, 1),
                f"{layer.name}: {layer.before} channels, "
                + (f"{layer.after} left" if layer.after else "left out"),
            )
            for at, layer in enumerate(layers)
        )
        made.append(Skyline(width, tuple(columns)))
    return made


def slowest_first(layers: Sequence[LayerChange]) -> list[LayerChange]:
    """Layers with a time, by what they took before."""
    timed = [layer for layer in layers if layer.ms_before is not None]
    return sorted(timed, key=lambda layer: -(layer.ms_before or 0.0))
