"""A file under examination: what it holds, and what the target says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgeprune.devices.runner import NodeTime, Runner
from edgeprune.errors import DeviceError
from edgeprune.onnx_files.portable import opset_of
from edgeprune.records import PairedTiming, Timing
from edgeprune.temporary import temporary_folder

QUANTIZES = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Examined:
    """A file, and the target that it is for.

    Attributes:
        proto: its content, without data that lie in other files.
        fixed: the same with fixed shapes, which is what is timed; None where lengths
            are open that nobody has said.
    """

    path: Path
    proto: onnx.ModelProto
    runner: Runner
    fixed: Path | None

    @property
    def graph(self) -> onnx.GraphProto:
        """Its graph."""
        return self.proto.graph

    @cached_property
    def opset(self) -> int | None:
        """The version of ONNX's own operators."""
        return opset_of(self.proto)

    @cached_property
    def weights(self) -> dict[str, onnx.TensorProto]:
        """Its constants by name."""
        return {item.name: item for item in self.graph.initializer}

    def values(self, tensor: onnx.TensorProto) -> NDArray[np.generic] | None:
        """A constant's numbers; None where they lie in a file that is not there."""
        try:
            return numpy_helper.to_array(tensor, str(self.path.parent))
        except (OSError, ValueError, TypeError, onnx.checker.ValidationError):
            return None

    @cached_property
    def constants(self) -> dict[str, NDArray[np.generic]]:
        """The numbers of those that can be read."""
        found = {name: self.values(item) for name, item in self.weights.items()}
        return {name: held for name, held in found.items() if held is not None}

    @cached_property
    def refused(self) -> str | None:
        """Why ONNX Runtime does not load it here; None where it does."""
        try:
            self.session(ort.SessionOptions())
        except Exception as error:  # noqa: BLE001  of many kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return lines[0]
        return None

    def session(self, options: Any) -> Any:
        """A session of it in this process."""
        options.log_severity_level = 4
        return ort.InferenceSession(
            str(self.fixed or self.path), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def optimized(self) -> onnx.GraphProto:
        """Its graph as the runtime makes it here, before layouts are chosen."""
        options = ort.SessionOptions()
        level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.graph_optimization_level = level
        with temporary_folder() as folder:
            options.optimized_model_filepath = str(folder / "optimized.onnx")
            self.session(options)
            return onnx.load(folder / "optimized.onnx").graph

    @cached_property
    def quantized(self) -> bool:
        """Whether it computes in int8."""
        return any(node.op_type in QUANTIZES for node in self.graph.node)

    @cached_property
    def timing(self) -> Timing | DeviceError:
        """Its time on the target, or why there is none."""
        if self.fixed is None:
            message = "its inputs have open lengths, of which its time depends"
            return DeviceError("open", message)
        try:
            return self.runner.time([self.fixed])[0]
        except DeviceError as error:
            return error

    @cached_property
    def nodes(self) -> list[NodeTime]:
        """Its operators as they ran there; none where that cannot be told."""
        if self.fixed is None or isinstance(self.timing, DeviceError):
            return []
        try:
            return self.runner.profile(self.fixed)
        except DeviceError:
            return []

    def ms_of(self, *operators: str) -> float | None:
        """What operators of some kinds take together; None where it is not known.

        Their share of what all of them take in one profile, of the measured time: a
        machine that was busy meanwhile was so for all.
        """
        whole = sum(item.latency_ms for item in self.nodes)
        if not whole or self.ms is None:
            return None
        own = sum(item.latency_ms for item in self.nodes if item.operator in operators)
        return self.ms * own / whole

    @cached_property
    def ms(self) -> float | None:
        """Its median time."""
        return None if isinstance(self.timing, DeviceError) else self.timing.median_ms

    def ratio_to(self, other: onnx.ModelProto) -> float | None:
        """Its time as a share of another form's, measured in turn; None if unknown."""
        if self.ms is None or self.fixed is None:
            return None
        with temporary_folder() as folder:
            path = folder / "other.onnx"
            onnx.save(other, path)
            try:
                found, own = self.runner.time([path, self.fixed])
            except DeviceError:
                return None
        return PairedTiming(own, found).ratio

    def feeds(self) -> dict[str, NDArray[np.generic]] | None:
        """Random inputs; None where one is not of floats."""
        rng, held = np.random.default_rng(0), self.weights
        found: dict[str, NDArray[np.generic]] = {}
        for item in self.graph.input:
            if item.name in held:
                continue
            kind = item.type.tensor_type.elem_type
            if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16):
                return None
            axes = item.type.tensor_type.shape.dim
            shape = [max(axis.dim_value, 1) for axis in axes]
            if math.prod(shape) > LARGEST:
                return None
            dtype = np.float32 if kind == TensorProto.FLOAT else np.float16
            found[item.name] = rng.standard_normal(shape).astype(dtype)
        return found


LARGEST = 100_000_000  # values of an input
