"""Measure a network's latency table: probes at other widths, a fit, a check, a cache.

The table is kept on disk under the network's structure, the device and its runtime,
so that a second run of the same network measures nothing.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from torch import nn

from edgeprune.files import cache_folder, write_cache
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.indices import kept_indices
from edgeprune.measure.benchmark import Benchmark, parameter_shapes
from edgeprune.measure.onnx_file import weights_of_nodes
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.measure.runner import Probe
from edgeprune.profile.fit import LatencyFit, Sample, fit, predict
from edgeprune.profile.memory_table import memory_table
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    LatencySummary,
    LatencyTable,
    MemoryTable,
    Plan,
    from_json,
    to_json,
)
from edgeprune.records.latency import WidthPlace

VERSION = 1  # of what is measured and how it is fitted
BATCH = 16  # networks on the device at once
SLOW = 4  # times fewer probes of a network whose every variant has to be exported
NEAR = 0.35  # how far one group's share may be from that of its network
FEW = 4  # variants, to see which activation follows which width
NOT_KEPT = "; the cache cannot be written: it is measured anew next time"
FEWEST = 0.1  # share of a group's channels


def measure_latency_table(
    model: nn.Module,
    graph: ChannelGraph,
    benchmark: Benchmark,
    progress: Progress = SILENT,
) -> LatencyTable:
    """The table of a network on a target, from the disk or measured now.

    Raises:
        ExportError: the network cannot be written as ONNX at other widths.
        MeasurementError: it cannot be timed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=benchmark.folder) as held:
        variants = ResizedModels(
            model,
            graph,
            benchmark.inputs,
            Path(held),
            shortcuts_as_conv=benchmark.shortcuts_as_conv,
        )
        key = _key(variants, benchmark)
        path = cache_folder() / "latency" / f"{key}.json"
        if (known := _read(path)) is not None:
            return known
        count, checks = _probe_counts(benchmark, variants)
        plans = draw_plans(graph, count + checks, seed=0)
        progress.start("latency table", len(plans))
        probing = Probing(model, graph, variants, benchmark, path.with_suffix(""))
        samples = probing.samples(plans, progress)
        layers = weights_of_nodes(variants.reference)
        memory = _memory(graph, variants, plans[:FEW])
    found = fit(samples[:count], layers)
    table = LatencyTable(
        key=key,
        block=found.block,
        cache_bytes=found.cache_bytes if math.isfinite(found.cache_bytes) else 1e15,
        operators=found.operators,
        probes=count,
        errors=errors_of(found, samples[count:]),
        memory=memory,
        seconds=time.perf_counter() - start,
    )
    again = "" if write_cache(path, to_json(table, indent=None)) else NOT_KEPT
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    progress.finish(
        f"{count} networks, {len(table.operators)} operators, error of {checks} others "
        f"{LatencySummary.of(table).median_error:.1%} (median){again}"
    )
    return table


def _probe_counts(benchmark: Benchmark, variants: ResizedModels) -> tuple[int, int]:
    """How many networks the table is fitted to, and how many check it."""
    recipe = benchmark.runner.probing
    slower = 1 if variants.quick else SLOW
    return math.ceil(recipe.networks / slower), recipe.checks


@dataclass(frozen=True)
class Probing:
    """Times a network at other widths, a batch of files at a time.

    Attributes:
        kept: a folder where batches are kept until all are there, so that a process
            that is killed need not measure them again.
    """

    model: nn.Module
    graph: ChannelGraph
    variants: ResizedModels
    benchmark: Benchmark
    kept: Path

    def samples(self, plans: Sequence[Plan], progress: Progress) -> list[Sample]:
        """Time the network under plans."""
        shapes = parameter_shapes(self.model)
        samples: list[Sample] = []
        for start in range(0, len(plans), BATCH):
            batch = plans[start : start + BATCH]
            for plan, found in zip(batch, self._batch(start, batch), strict=True):
                widths = widths_under(self.graph, plan)
                size = 4 * sum(
                    math.prod(
                        widths.get((name, axis), size)
                        for axis, size in enumerate(shape)
                    )
                    for name, shape in shapes.items()
                )
                samples.append(Sample(widths, size, found))
                progress.advance()
        return samples

    def _batch(self, start: int, plans: Sequence[Plan]) -> Sequence[Probe]:
        path = self.kept / f"{start}.json"
        with suppress(OSError, ValidationError):
            held = from_json(tuple[Probe, ...], path.read_bytes())
            if len(held) == len(plans):
                return held
        write = self.variants.write
        paths = [write(plan, f"probe{at}") for at, plan in enumerate(plans)]
        probes = self.benchmark.runner.probe(paths, self.variants.reference)
        write_cache(path, to_json(tuple(probes), indent=None))
        return probes


def _memory(
    graph: ChannelGraph, variants: ResizedModels, plans: Sequence[Plan]
) -> MemoryTable:
    paths = [variants.write(plan, f"probe{at}") for at, plan in enumerate(plans)]
    widths = [widths_under(graph, plan) for plan in (Plan({}), *plans)]
    return memory_table(variants.reference, paths, widths)


def errors_of(found: LatencyFit, samples: Sequence[Sample]) -> tuple[float, ...]:
    """Relative errors of a fit for networks that it has not seen."""
    whole = np.array([sample.probe.share for sample in samples])
    return tuple((predict(found, samples) / whole - 1).tolist())


def widths_under(graph: ChannelGraph, plan: Plan) -> dict[WidthPlace, int]:
    """The length of every parameter axis under a plan."""
    kept = kept_indices(graph, plan)
    whole = {axis: len(channels) for axis, channels in graph.axes.items()}
    return whole | {axis: len(indices) for axis, indices in kept.items()}


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


def _key(variants: ResizedModels, benchmark: Benchmark) -> str:
    runner = benchmark.runner
    parts = (str(VERSION), variants.structure(), runner.key(), repr(runner.probing))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> LatencyTable | None:
    try:
        return from_json(LatencyTable, path.read_bytes())
    except (OSError, ValidationError):
        return None
