"""The profile of one network on one target, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from edgeprune.errors import ConfigError
from edgeprune.files import cached
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.region import WHOLE, Region
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark, Exported
from edgeprune.measure.shortcuts import write_shortcuts_as_conv
from edgeprune.progress import SILENT, Progress
from edgeprune.records import LayerCost, ModelFigures, PairedTiming, RefusedGroup
from edgeprune.units import millions, milliseconds

PAYS = 0.99  # of the time is less


@dataclass(frozen=True)
class Profile:
    """A network on a target.

    Attributes:
        exported: as the exporter writes it: the baseline of all measurements.
        graph: its channel groups, and what it refuses to give up.
        benchmark: writes files in the form that is fastest here.
        start: the network in that form.
        paired: the timing of that file; the baseline's beside itself where it is one.
        start_ratio: its time as a share of the baseline's, as it was found when this
            network was first profiled here.
    """

    exported: Exported
    figures: ModelFigures
    graph: ChannelGraph
    benchmark: Benchmark
    start: Exported
    paired: PairedTiming
    start_ratio: float = 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        """In which form files are written, if that is not the exporter's."""
        if not self.benchmark.shortcuts_as_conv:
            return ()
        timings = (self.paired.baseline, self.paired.timing)
        before, after = (milliseconds(timing.median_ms) for timing in timings)
        form = "shortcuts without parameters are written as convolutions"
        return (f"{form}: {before} -> {after}",)


def profile_network(
    model: nn.Module,
    benchmark: Benchmark,
    progress: Progress = SILENT,
    region: Region = WHOLE,
) -> Profile:
    """Trace, export, count and time a network.

    Args:
        region: what of it may change.

    Raises:
        ConfigError: the region leaves nothing.
        TraceError: the model does not run or trace.
        ExportError: it cannot be written as ONNX.
        MeasurementError: it cannot be timed.
    """
    progress.start("profile", 4)
    whole = survey(model, benchmark.inputs)
    graph = region.within(whole)
    if whole.groups and not (graph.groups or graph.identities):
        message = f"{region} leave nothing of {type(model).__name__} that can be pruned"
        raise ConfigError(f"{message}: `edgeprune groups` shows what there is.")
    progress.advance("channel groups")
    exported = benchmark.export(model, "baseline")
    progress.advance("ONNX file")
    timing = benchmark.compare([exported])[0]
    paired = PairedTiming(timing, timing)
    figures = benchmark.figures(exported, paired, timing.median_ms)
    graph = replace(graph, refusals=priced(graph.refusals, figures.layers))
    progress.advance("latency")
    profile = Profile(exported, figures, graph, benchmark, exported, paired)
    profile = _in_fastest_form(profile)
    progress.advance("form of the file")
    progress.finish(
        f"{milliseconds(figures.summary.median_ms)}, {millions(figures.macs)} MACs, "
        f"{len(graph.groups)} channel groups"
    )
    return profile


def _in_fastest_form(profile: Profile) -> Profile:
    """Write shortcuts without parameters as convolutions, if that is faster."""
    path = profile.exported.path.with_name("convolved.onnx")
    if not write_shortcuts_as_conv(profile.exported.path, path):
        return profile
    start = replace(profile.exported, path=path)
    baseline, timing = profile.benchmark.compare([profile.exported, start])
    paired = PairedTiming(timing, baseline)
    facts = f"{profile.benchmark.runner.key()}\n{profile.exported.cost.layers!r}"
    ratio = cached(
        "form-ratio", facts, lambda: paired.ratio, float, lambda ratio: ratio > 0
    )
    if ratio > PAYS:
        return profile
    benchmark = replace(profile.benchmark, shortcuts_as_conv=True)
    return replace(
        profile, benchmark=benchmark, start=start, paired=paired, start_ratio=ratio
    )


def priced(
    refusals: Sequence[RefusedGroup], layers: Sequence[LayerCost]
) -> tuple[RefusedGroup, ...]:
    """Price each refusal: its share of the time of the layers that make it."""
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
