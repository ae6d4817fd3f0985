"""The profile of one network on one target, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from edgeprune.files import settled
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.measure.bench import Bench, Exported
from edgeprune.measure.selections import convolve_selections
from edgeprune.progress import SILENT, Progress
from edgeprune.records import LayerCost, ModelFigures, RefusedGroup, Timing
from edgeprune.units import milliseconds

PAYS = 0.99  # of the time is less


@dataclass(frozen=True)
class Profile:
    """A network on a target.

    Attributes:
        exported: as the exporter writes it.
        graph: its channel groups, and what it refuses to give up.
        bench: writes files in the form that is fastest here.
        start: the network in that form.
        timings: of both files, from one measurement.
    """

    exported: Exported
    figures: ModelFigures
    graph: ChannelGraph
    bench: Bench
    start: Exported
    timings: tuple[Timing, Timing]

    @property
    def share(self) -> float:
        """Of the exporter's file's time that the fastest form takes."""
        base, timing = self.timings
        return timing.share_of(base)

    @property
    def notes(self) -> tuple[str, ...]:
        """In which form files are written, if that is not the exporter's."""
        if not self.bench.convolved:
            return ()
        before, after = (milliseconds(timing.median_ms) for timing in self.timings)
        form = "shortcuts without parameters are written as convolutions"
        return (f"{form}: {before} -> {after}",)


def profile_network(
    model: nn.Module, bench: Bench, progress: Progress = SILENT
) -> Profile:
    """Trace, export, count and time a network.

    Raises:
        TraceError: the model does not run or trace.
        ExportError: it cannot be written as ONNX.
        MeasurementError: it cannot be timed.
    """
    progress.start("profile", 4)
    graph = survey(model, bench.inputs)
    progress.advance("channel groups")
    exported = bench.export(model, "baseline")
    progress.advance("ONNX file")
    figures = bench.figures(exported, bench.compare([exported])[0])
    graph = replace(graph, refusals=priced(graph.refusals, figures.layers))
    progress.advance("latency")
    timing = figures.timing
    profile = Profile(exported, figures, graph, bench, exported, (timing, timing))
    profile = _convolved(profile)
    progress.advance("form of the file")
    progress.finish(
        f"{milliseconds(figures.summary.median_ms)}, {figures.macs / 1e6:.1f} M MACs, "
        f"{len(graph.groups)} channel groups"
    )
    return profile


def _convolved(profile: Profile) -> Profile:
    """With shortcuts without parameters as convolutions, if that is faster."""
    path = profile.exported.path.with_name("convolved.onnx")
    if not convolve_selections(profile.exported.path, path):
        return profile
    start = replace(profile.exported, path=path)
    base, timing = profile.bench.compare([profile.exported, start])
    facts = f"{profile.bench.runner.key()}\n{profile.exported.cost.layers!r}"
    pays = timing.share_of(base) <= PAYS
    if not settled("form", facts, (False, True), lambda: pays):
        return profile
    bench = replace(profile.bench, convolved=True)
    return replace(profile, bench=bench, start=start, timings=(base, timing))


def priced(
    refusals: Sequence[RefusedGroup], layers: Sequence[LayerCost]
) -> tuple[RefusedGroup, ...]:
    """What each refusal costs: its share of the time of the layers that make it."""
    made = {layer.name: layer for layer in layers}

    def cost(refusal: RefusedGroup) -> float | None:
        found = [made[name] for name in refusal.layers if name in made]
        if not found or any(layer.latency_ms is None for layer in found):
            return None
        return sum(
            (layer.latency_ms or 0.0) * min(1.0, refusal.channels / layer.channels)
            for layer in found
        )

    return tuple(replace(item, latency_ms=cost(item)) for item in refusals)
