"""Measure a network's latency table: as many probes as it needs, a fit, a cache.

The table is kept on disk under the network's structure, the device and its runtime,
so that a second run of the same network measures nothing; the operators' times are kept
for other networks.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from edgeprune.devices.runner import Probe
from edgeprune.files import cache_folder, write_cache
from edgeprune.graph.groups import ChannelGraph
from edgeprune.measure.benchmark import Benchmark, parameter_shapes
from edgeprune.measure.onnx_file import NodeFacts, facts_of_layers, weights_of_nodes
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.profile.fit import BLOCKS, LatencyFit, Library, Probed, fit, left_out
from edgeprune.profile.library import OperatorLibrary
from edgeprune.profile.memory_table import FEW, memory_of, widths_under
from edgeprune.profile.operators import Sample, Variant, operators_of
from edgeprune.profile.probes import draw_plans, least_sure
from edgeprune.progress import SILENT, Progress
from edgeprune.records import (
    LatencySummary,
    LatencyTable,
    Plan,
    from_json,
    to_json,
)
from edgeprune.records.latency import NO_CACHE, Floats

VERSION = 3  # of what is measured and how it is fitted
POOL = 200  # networks of which some are probed
FIRST, MORE = 8, 4  # probes at once
GOOD = 0.02  # of a network's time: the closed loop does the rest
BETTER = 0.9  # of the error before; if it is not, twice in a row, noise is left
PATIENCE = 2
FAMILIAR = 0.8  # of the time was seen in other networks
SLOW = 2  # times fewer probes of a network whose every variant has to be exported
FLOAT_BYTES = 4
NOT_KEPT = "; the cache cannot be written: it is measured anew next time"


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
    key = _key(graph, benchmark)
    path = cache_folder() / "latency" / f"{key}.json"
    if (known := _read(path)) is not None:
        return known
    with benchmark.resized(model, graph) as variants:
        probing = Probing(model, graph, variants, benchmark, path.with_suffix(""))
        progress.start("latency table", probing.most)
        found, errors = _good_enough(probing, progress)
        memory = memory_of(graph, variants, probing.plans[:FEW])
    probing.remember(found)
    table = LatencyTable(
        key=key,
        block=found.block,
        cache_bytes=found.cache_bytes if math.isfinite(found.cache_bytes) else NO_CACHE,
        operators=found.operators,
        probes=len(errors),
        errors=tuple(errors.tolist()),
        memory=memory,
        seconds=time.perf_counter() - start,
    )
    again = "" if write_cache(path, to_json(table, indent=None)) else NOT_KEPT
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    progress.finish(
        f"{len(errors)} networks, {len(table.operators)} operators, error of a network "
        f"that is left out {LatencySummary.of(table).median_error:.1%} (median){again}"
    )
    return table


def _good_enough(probing: Probing, progress: Progress) -> tuple[LatencyFit, Floats]:
    """A fit to as many probes as it needs, and the errors of each left out."""
    found, least, stalled = None, math.inf, 0
    while True:
        found, errors = probing.more(found)
        size = math.sqrt(float(np.square(errors).mean()))
        progress.advance(f"{len(errors)} networks, error {size:.1%}")
        enough = len(errors) > FIRST or probing.familiar
        stalled = stalled + 1 if size > BETTER * least else 0
        settled = size <= GOOD or stalled >= PATIENCE
        if (enough and settled) or len(errors) >= probing.most:
            return found, errors
        least = min(least, size)


@dataclass(frozen=True)
class Probing:
    """Times a network at other widths, until the times of others are known well.

    Attributes:
        kept: a folder where batches are kept until all are there, so that a process
            that is killed need not measure them again.
    """

    model: nn.Module
    graph: ChannelGraph
    variants: ResizedModels
    benchmark: Benchmark
    kept: Path
    _used: list[int] = field(default_factory=list)
    _samples: list[Sample] = field(default_factory=list)

    @property
    def most(self) -> int:
        """How many networks are probed at most."""
        most = self.benchmark.runner.probing.networks
        return most if self.variants.quick else max(FIRST, most // SLOW)

    def more(self, before: LatencyFit | None) -> tuple[LatencyFit, Floats]:
        """Probe some more networks, fit all, and say the error of each one left out.

        Args:
            before: the fit to those so far, where there are any: the next are where it
                is least sure. The first are drawn.
        """
        if before is None:
            self._probe(list(range(min(FIRST, self.most))))
        else:
            probed, ahead = self._probed, self._ahead
            pool = [self._pool[at] for at in ahead]
            count = min(MORE, self.most - len(self._used))
            self._probe([ahead[at] for at in least_sure(before, probed, pool, count)])
        probed, known = self._probed, self._known()
        found = fit(probed, known)
        return found, left_out(found, probed, known)

    @property
    def familiar(self) -> bool:
        """Whether most of the time is that of operators seen in other networks."""
        known, whole, seen = self._known(), 0.0, 0.0
        for item in operators_of(self._samples, *self._file, BLOCKS[-1]):
            time = float(item.seen.time.sum())
            whole += time
            seen += time * (item.signature in known)
        return seen >= FAMILIAR * whole

    def _known(self) -> Library:
        held = [sample.probe.reference_ms for sample in self._samples]
        return self._library.of(statistics.median(held))

    @cached_property
    def _library(self) -> OperatorLibrary:
        return OperatorLibrary(self.benchmark.runner)

    def remember(self, found: LatencyFit) -> None:
        """Keep the operators' times for other networks."""
        probed = self._probed
        seen = operators_of(probed.samples, probed.layers, probed.facts, found.block)
        self._library.remember(seen, probed.samples)

    @property
    def _probed(self) -> Probed:
        return Probed(tuple(self._samples), *self._file)

    @cached_property
    def _file(self) -> tuple[dict[str, str], dict[str, NodeFacts]]:
        """What the file says of its values and layers."""
        reference = self.variants.reference
        return weights_of_nodes(reference), facts_of_layers(reference)

    @cached_property
    def plans(self) -> list[Plan]:
        """The networks that can be probed."""
        return draw_plans(self.graph, POOL, seed=0)

    @cached_property
    def _pool(self) -> list[Variant]:
        shapes = parameter_shapes(self.model)
        found: list[Variant] = []
        for plan in self.plans:
            widths = widths_under(self.graph, plan)
            size = sum(
                math.prod(
                    widths.get((name, axis), size) for axis, size in enumerate(at)
                )
                for name, at in shapes.items()
            )
            found.append(Variant(widths, FLOAT_BYTES * size))
        return found

    @property
    def _ahead(self) -> list[int]:
        return [at for at in range(POOL) if at not in self._used]

    def _probe(self, numbers: Sequence[int]) -> None:
        probes = self._batch([self.plans[at] for at in numbers])
        self._used.extend(numbers)
        self._samples.extend(
            Sample(self._pool[at].widths, self._pool[at].weight_bytes, probe)
            for at, probe in zip(numbers, probes, strict=True)
        )

    def _batch(self, plans: Sequence[Plan]) -> Sequence[Probe]:
        name = hashlib.sha256(to_json(tuple(plans)).encode()).hexdigest()[:16]
        path = self.kept / f"{name}.json"
        with suppress(OSError, ValidationError):
            held = from_json(tuple[Probe, ...], path.read_bytes())
            if len(held) == len(plans):
                return held
        write = self.variants.write
        paths = [write(plan, f"probe{at}") for at, plan in enumerate(plans)]
        probes = self.benchmark.runner.probe(paths, self.variants.reference)
        write_cache(path, to_json(tuple(probes), indent=None))
        return probes


def _key(graph: ChannelGraph, benchmark: Benchmark) -> str:
    runner, form = benchmark.runner, benchmark.shortcuts_as_conv
    network = f"{torch.__version__} {form} {graph.traced.structure()}"
    parts = (str(VERSION), network, runner.key(), repr(runner.probing))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> LatencyTable | None:
    try:
        return from_json(LatencyTable, path.read_bytes())
    except (OSError, ValidationError):
        return None
