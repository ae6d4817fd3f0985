"""From a module to figures: write its file, count it, time it on the device."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from torch import nn

from edgeprune.data import Batches
from edgeprune.devices.runner import NodeTime, Runner
from edgeprune.files import sha256, write_whole
from edgeprune.graph.cost import FLOAT_BYTES, Cost, count
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.trace import Inputs, trace
from edgeprune.measure.memory import activations
from edgeprune.measure.onnx_file import layer_of_node, weights_of_nodes, write_onnx
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.measure.roofline import roofline_of
from edgeprune.measure.shortcuts import write_shortcuts_as_conv
from edgeprune.onnx_files.metadata import describe_
from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.quantize.form import form_for
from edgeprune.quantize.mixed import Accepts, DeviceClock, Mixed, mixed
from edgeprune.quantize.quantize import FEW, SAMPLES, Weigh, quantize
from edgeprune.records import (
    LayerCost,
    Memory,
    ModelFigures,
    PairedTiming,
    Timing,
    TimingSummary,
)
from edgeprune.records.measurement import pooled
from edgeprune.targets import TimingRecipe

KNOWN = 0.01  # share by which a measured ratio may be off
MORE = 2  # measurements, where something else on the machine disturbs one


@dataclass(frozen=True)
class Exported:
    """A module, its file and its counted cost; not measured yet.

    Attributes:
        denormals: how many weights of the file were so small that they were set to 0.
        made_of: the fp32 file that an int8 one was quantized from.
    """

    model: nn.Module
    path: Path
    cost: Cost
    precision: str = "fp32"
    denormals: int = 0
    made_of: Path | None = None

    @property
    def in_fp32(self) -> Exported:
        """The same module's fp32 file."""
        if self.made_of is None:
            return self
        return replace(self, path=self.made_of, precision="fp32", made_of=None)

    def discard(self) -> None:
        """Remove its files."""
        for path in {self.path, self.in_fp32.path}:
            path.unlink()


@dataclass(frozen=True)
class Benchmark:
    """Writes modules as files and measures them on one device.

    Attributes:
        inputs: the example batch whose shape is exported.
        folder: where files are written; it exists.
        calibration: to quantize every file with; None where the deployed file is fp32.
        shortcuts_as_conv: write shortcuts without parameters as convolutions.
        in_float: nodes of int8 files that stay in float.
        facts: what each file says of itself.
        weigh: how much each number of a single output counts where int8 is judged.
    """

    runner: Runner
    inputs: Inputs
    folder: Path
    dynamic_batch: bool = False
    calibration: Batches | None = None
    shortcuts_as_conv: bool = False
    in_float: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    weigh: Weigh | None = None

    def write(self, model: nn.Module, path: Path, *, flush: bool = True) -> int:
        """Write a module in fp32.

        Args:
            flush: set denormal weights to 0.

        Returns:
            How many weights were.

        Raises:
            ExportError: the exporter refuses the model.
        """
        flushed = write_onnx(
            model, self.inputs, path, dynamic_batch=self.dynamic_batch, flush=flush
        )
        if self.shortcuts_as_conv:
            write_shortcuts_as_conv(path, path)
        if self.facts:
            proto = onnx.load(path)
            describe_(proto, self.facts)
            write_whole(path, proto.SerializeToString())
        return flushed

    def export(self, model: nn.Module, name: str, *, draft: bool = False) -> Exported:
        """Write a module as `name`.onnx, or the int8 version beside it, and count it.

        Args:
            draft: only the file's speed matters: a few samples are enough for int8.

        Raises:
            ExportError: the exporter or the quantiser refuses the model.
        """
        path = self.folder / f"{name}.onnx"
        flushed = self.write(model, path)
        found = Exported(model, path, count(trace(model, self.inputs)), "fp32", flushed)
        if self.calibration is None:
            return found
        return self.quantized(found, self.calibration, FEW if draft else SAMPLES)

    def quantized(
        self, item: Exported, calibration: Batches, samples: int = SAMPLES
    ) -> Exported:
        """Write the int8 version of an fp32 file beside it.

        Raises:
            ExportError: the quantiser refuses the file.
        """
        small = _int8_of(item)
        quantize(
            item.path,
            small.path,
            calibration,
            samples,
            form=form_for(self.runner, self.in_float),
            weigh=self.weigh,
        )
        return small

    def in_mixed(
        self, item: Exported, calibration: Batches, accepts: Accepts | None = None
    ) -> tuple[Exported, Mixed]:
        """Write the fastest int8 version, with layers in float that win by it.

        Args:
            accepts: whether a file is accurate enough.

        Raises:
            ExportError: the quantiser refuses the file.
        """
        small, clock = _int8_of(item), DeviceClock(self.runner)
        found = mixed(
            item.path,
            small.path,
            calibration,
            clock,
            form=form_for(self.runner, self.in_float),
            accepts=accepts,
            weigh=self.weigh,
        )
        return small, found

    @contextmanager
    def resized(self, model: nn.Module, graph: ChannelGraph) -> Iterator[ResizedModels]:
        """Write a network at other widths, in this form, while files are wanted.

        Raises:
            ExportError: it cannot be written as ONNX.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as held:
            form = self.shortcuts_as_conv
            yield ResizedModels(
                model, graph, self.inputs, Path(held), shortcuts_as_conv=form
            )

    def compare(self, files: Sequence[Exported]) -> list[Timing]:
        """Time files against each other, their rounds in turn.

        Until their shares of the first one's time are known to a percent; of one file
        alone, its time. A few measurements at most, of which all rounds count.
        """
        return self._known(files, self.runner.target.timing)

    def compare_briefly(self, files: Sequence[Exported]) -> list[Timing]:
        """The same in rounds half as long, where another measurement decides."""
        recipe = self.runner.target.timing
        half = {
            "seconds": recipe.seconds / 2,
            "iterations": -(-recipe.iterations // 2),
        }
        return self._known(files, recipe.model_copy(update=half))

    def _known(self, files: Sequence[Exported], recipe: TimingRecipe) -> list[Timing]:
        paths = [item.path for item in files]
        timings = self.runner.time(paths, recipe)
        for _ in range(MORE):
            slowed = any(timing.is_throttled for timing in timings)
            if _doubt(timings) <= KNOWN and not slowed:
                break
            again = self.runner.time(paths, recipe)
            if slowed:  # those times are not the device's own
                timings = again
                continue
            timings = pooled(timings, again)
        return timings

    def figures(
        self, item: Exported, paired: PairedTiming, reference_ms: float
    ) -> ModelFigures:
        """Collect all figures of one file: counted, timed, and profiled by layer.

        Args:
            reference_ms: what the baseline takes on this device as a rule.
        """
        timing = paired.timing
        layers, profiled_ms = self.layers(item)
        return ModelFigures(
            file=item.path.name,
            sha256=sha256(item.path),
            precision=item.precision,
            size_bytes=item.path.stat().st_size,
            macs=item.cost.macs,
            params=item.cost.params,
            memory=self._memory(item.path),
            timing=timing,
            summary=TimingSummary.of(timing),
            layers=layers,
            profiled_ms=profiled_ms,
            roofline=roofline_of(self.runner),
            latency_ratio=paired.ratio,
            reference_ms=reference_ms,
        )

    def _memory(self, path: Path) -> Memory:
        peak, counted = self.runner.peak_memory(path), activations(path)
        return Memory(
            process_peak_bytes=peak.process_peak_bytes or None,
            run_peak_bytes=peak.run_peak_bytes,
            activation_peak_bytes=counted.peak_bytes if counted.complete else None,
        )

    def layers(self, item: Exported) -> tuple[tuple[LayerCost, ...], float | None]:
        """Time each layer by the runtime's profile, with what is fused behind it.

        Times are None where the runtime's operators cannot be told apart, as in int8.

        Returns:
            The layers, and the time of all operators together.
        """
        if item.precision != "fp32":
            return item.cost.layers, None
        made_by = weights_of_nodes(item.path)
        spent: dict[str, float] = {}
        own: dict[str, NodeTime] = {}
        layer = ""
        for node in self.runner.profile(item.path):
            layer = layer_of_node(node.name, made_by, layer)
            spent[layer] = spent.get(layer, 0.0) + node.latency_ms
            if layer not in own or _makes_more(node, own[layer]):
                own[layer] = node
        layers = tuple(
            replace(
                layer,
                latency_ms=spent.get(layer.name),
                moved_bytes=_moved(own.get(layer.name), layer),
            )
            for layer in item.cost.layers
        )
        return layers, sum(spent.values())


def _makes_more(node: NodeTime, other: NodeTime) -> bool:
    """Whether an operator, sooner than another one, is the layer itself."""
    return (_is_layer(node), node.latency_ms) > (_is_layer(other), other.latency_ms)


def _is_layer(node: NodeTime) -> bool:
    plain = node.operator.removeprefix("Fused")
    return onnx_operator(plain).layer


def _moved(node: NodeTime | None, layer: LayerCost) -> int | None:
    """What the operator of a layer reads and writes, in fp32."""
    if node is None or not node.read or not node.made:
        return None
    values = math.prod(node.read) + math.prod(node.made) + layer.params
    return FLOAT_BYTES * values


def _int8_of(item: Exported) -> Exported:
    """The int8 version of an fp32 file, to be written beside it."""
    path = item.path.with_suffix(".int8.onnx")
    return replace(item, path=path, precision="int8", made_of=item.path)


def _doubt(timings: Sequence[Timing]) -> float:
    """By what share the most doubtful of them may be off beside the first."""
    first, *others = timings
    if not others:
        return first.doubt
    return max(PairedTiming(timing, first).doubt for timing in others)


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its path."""
    return {name: tuple(value.shape) for name, value in model.named_parameters()}
