"""How near layers run to what the device can do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.records import LayerCost, ModelFigures, Roofline, Timing
from edgeprune.units import milliseconds


@dataclass(frozen=True)
class Nearness:
    """A layer beside the roofline.

    Attributes:
        share: the least time that it can take, of what it took.
        bound: what takes that long, compute or memory.
    """

    share: float
    bound: str

    @property
    def text(self) -> str:
        """Such as 61% (compute)."""
        return f"{self.share:.0%} ({self.bound})"

    @property
    def short(self) -> str:
        """Such as 61% C."""
        return f"{self.share:.0%} {self.bound[0].upper()}"


def nearness_of(layer: LayerCost, roofline: Roofline | None) -> Nearness | None:
    """None where the layer or the device was not measured."""
    if roofline is None or not layer.latency_ms or layer.moved_bytes is None:
        return None
    least = roofline.least_ms(layer.macs, layer.moved_bytes)
    bound = "compute" if least == roofline.compute_ms(layer.macs) else "memory"
    return Nearness(least / layer.latency_ms, bound)


def nearness_by_name(figures: ModelFigures) -> Mapping[str, Nearness]:
    """The same of all layers of which it is known."""
    found = {
        layer.name: nearness_of(layer, figures.roofline) for layer in figures.layers
    }
    return {name: one for name, one in found.items() if one is not None}


def roofline_text(figures: ModelFigures) -> str:
    """What the device can do, what the layers reach, and how far sums are off.

    Empty where nothing of it was measured.
    """
    roofline, whole = figures.roofline, figures.profiled_ms
    if roofline is None or not whole:
        return ""
    measured = _quick_half_ms(figures.timing)
    off = round(100 * (whole / measured - 1))
    least = sum(
        roofline.least_ms(layer.macs, layer.moved_bytes)
        for layer in figures.layers
        if layer.moved_bytes is not None
    )
    return (
        f"Roofline: its runtime reaches {roofline.macs_per_ms / 1e6:.1f} GMAC/s in a "
        f"large product and {roofline.bytes_per_ms / 1e6:.1f} GB/s in a large move, by "
        f"which all layers would take {milliseconds(least)}. By the profiler all "
        f"operators take {milliseconds(whole)}; without it the whole takes "
        f"{milliseconds(measured)} ({off:+d}%)"
    )


def _quick_half_ms(timing: Timing) -> float:
    """The mean of the quicker half of the samples, as the profiler's times are."""
    ordered = sorted(timing.samples_ms)
    return statistics.fmean(ordered[: max(1, len(ordered) // 2)])
