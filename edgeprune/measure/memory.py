"""Activations that are alive together when ONNX Runtime runs a file, and their bytes.

Counted on the runtime's own optimised graph: what it fuses has no memory, what it
computes in place takes the memory of its input. The arena and the scratch memory of
kernels come on top, so this is a lower bound of what a process shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from edgeprune.errors import MeasurementError
from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.temporary import temporary_folder


@dataclass(frozen=True)
class Activations:
    """Values with memory of their own, and when they are alive.

    Attributes:
        shapes: by name.
        sizes: in bytes.
        alive: for each operator in turn, the values that are alive while it runs;
            only sets that no other contains.
        complete: whether the runtime tells the shape of every value.
    """

    shapes: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    alive: tuple[frozenset[str], ...]
    complete: bool

    @property
    def peak_bytes(self) -> int:
        """The most bytes that are alive at once."""
        return max(
            (sum(self.sizes[name] for name in held) for held in self.alive), default=0
        )


def activations(path: Path) -> Activations:
    """The activations of a file as ONNX Runtime lays them out.

    Raises:
        MeasurementError: the runtime does not load the file.
    """
    graph = _optimised(path)
    weights = {item.name for item in graph.initializer}
    values = (*_inferred(path), *graph.input, *graph.value_info, *graph.output)
    values = [item for item in values if item.name not in weights]
    shapes = {item.name: _shape(item) for item in values}
    sizes = {item.name: _size(item) for item in values}
    nodes = list(graph.node)
    made = {name for node in nodes for name in node.output if name}
    complete = made <= shapes.keys()
    last = {name: index for index, node in enumerate(nodes) for name in node.input}
    last |= {item.name: len(nodes) for item in graph.output}
    home = {item.name: item.name for item in graph.input}  # value: whose memory it has
    users = dict.fromkeys(home, 1)  # values of later use in each memory
    alive = set(home)
    found: list[frozenset[str]] = []
    for index, node in enumerate(nodes):
        dying = {
            name for name in node.input if last.get(name) == index and name in home
        }
        taken = _taken_over(node, dying, sizes)
        for name in node.output:
            if name not in shapes:
                continue
            home[name] = home[taken] if taken else name
            users[home[name]] = users.get(home[name], 0) + 1
            alive.add(home[name])
            taken = None
        found.append(frozenset(alive))
        for name in (*dying, *(name for name in node.output if name not in last)):
            if name in home:
                users[home[name]] -= 1
                if not users[home[name]]:
                    alive.discard(home[name])
    return Activations(shapes, sizes, _largest(found), complete)


def _taken_over(
    node: onnx.NodeProto,
    dying: set[str],
    sizes: dict[str, int],
) -> str | None:
    """The input whose memory the first output takes over, if any."""
    if not onnx_operator(node.op_type).in_place or node.output[0] not in sizes:
        return None
    size = sizes[node.output[0]]
    inputs: Sequence[str] = node.input
    if node.op_type == "FusedConv":
        inputs = node.input[3:]  # what a convolution adds to
    fitting = [name for name in inputs if name in dying and sizes[name] == size]
    return fitting[0] if fitting else None


def _largest(sets: Sequence[frozenset[str]]) -> tuple[frozenset[str], ...]:
    distinct = sorted(set(sets), key=len, reverse=True)
    kept: list[frozenset[str]] = []
    for item in distinct:
        if not any(item < other for other in kept):
            kept.append(item)
    return tuple(kept)


def _optimised(path: Path) -> onnx.GraphProto:
    """The graph after the optimisations that hold on every device."""
    with temporary_folder() as folder:
        written = folder / "optimised.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = (
            ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        )
        options.optimized_model_filepath = str(written)
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            message = f"{path.name} does not load in ONNX Runtime: {error}."
            raise MeasurementError(message) from error
        return onnx.load(written).graph


def _inferred(path: Path) -> Sequence[onnx.ValueInfoProto]:
    """Shapes of a file's values, which a file need not hold and the runtime loses."""
    return onnx.shape_inference.infer_shapes(onnx.load(path)).graph.value_info


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """An open size counts as 1: one sample."""
    return tuple(size.dim_value or 1 for size in value.type.tensor_type.shape.dim)


def _size(value: onnx.ValueInfoProto) -> int:
    """In bytes."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return math.prod(_shape(value)) * kind.itemsize
