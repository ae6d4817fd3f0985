"""The layers of an int8 file fitted to the float network, from the first to the last.

Each is fitted on what the quantised layers before it make, to what the float network
makes at the same place, so it takes up what those are off. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.patches import Places, Window, outputs_at, some_places
from edgeprune.quantize.qdq import BIAS, WEIGHT
from edgeprune.quantize.ranges import (
    CPU,
    Feeds,
    Floats,
    quiet_options,
    with_outputs,
)
from edgeprune.quantize.rounding import Rounded, Wanted, fitted

PLACES = 4096  # where a layer is looked at, at least
PER_INPUT = 3  # places for each input of an output
MOST_INPUTS = 2500  # of an output: rounding takes the cube of it
Numbers = NDArray[np.float64]


def fit_layers(
    small: onnx.ModelProto,
    plain: onnx.ModelProto,
    feeds: Sequence[Feeds],
    form: Int8Form,
    folder: Path,
) -> onnx.ModelProto:
    """An int8 network with its weights rounded for the outputs of its layers.

    Args:
        small: in QDQ form; it stays as it is.
        plain: the float network, with the same names of nodes.
        feeds: samples, in batches of the size that the files take.
        folder: where files may be written.
    """
    held = onnx.ModelProto()
    held.CopyFrom(small)
    layers = list(_layers(held, plain))
    wanted = _outputs(plain, layers, feeds, folder)
    for layer in layers:
        places, y = wanted[layer.output]
        layer.write_(layer.fitted(layer.inputs(held, feeds, places, folder), y, form))
    return held


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product in QDQ form.

    Attributes:
        node: in the int8 network.
        output: name of what it makes in the float network.
        tensors: constants of the int8 network by name; fitting changes them.
        weight, bias: what turns integers into numbers; a bias need not be there.
        source: what does so with its input.
        turned: whether its weight has inputs first.
    """

    node: onnx.NodeProto
    output: str
    tensors: Mapping[str, onnx.TensorProto]
    weight: onnx.NodeProto
    source: onnx.NodeProto
    bias: onnx.NodeProto | None
    turned: bool

    @property
    def window(self) -> Window:
        """How it goes over its input."""
        return Window.of(self.node, self.tensors[self.weight.input[0]].dims)

    @property
    def behind(self) -> bool:
        """Whether channels are the last axis of its input."""
        return self.node.op_type != "Conv"

    @property
    def places(self) -> int:
        """At how many it is looked."""
        return max(PLACES, PER_INPUT * self._matrix().shape[2])

    def inputs(
        self,
        proto: onnx.ModelProto,
        feeds: Sequence[Feeds],
        places: Sequence[Places],
        folder: Path,
    ) -> Numbers:
        """What it reads for some outputs, shape (groups, places, inputs)."""
        name = self.node.input[0]
        session = _session(proto, [name], folder)
        found = [
            self.window.inputs(np.asarray(session.run([name], dict(fed))[0]), at)
            for fed, at in zip(feeds, places, strict=True)
        ]
        return np.concatenate(found, axis=1).astype(np.float64)

    def fitted(self, x: Numbers, y: Numbers, form: Int8Form) -> Rounded:
        """Its weights in integers, for outputs of shape (places, groups * out)."""
        matrix = self._matrix()
        y = y.reshape(len(y), *matrix.shape[:2]).transpose(1, 0, 2)
        unit = None if self.bias is None else self._unit
        return fitted(matrix, Wanted(x, y, unit), form)

    def write_(self, found: Rounded) -> None:
        """Put integers and steps into the file."""
        whole, steps = self.tensors[self.weight.input[0]], found.steps.reshape(-1)
        values = found.whole.reshape(len(steps), -1)
        _replace_(whole, values.T if self.turned else values)
        _replace_(self.tensors[self.weight.input[1]], steps)
        if self.bias is not None:
            one = steps * self._unit
            bias = np.rint(found.bias.reshape(-1) / one)
            _replace_(self.tensors[self.bias.input[0]], bias)
            _replace_(self.tensors[self.bias.input[1]], one)

    @property
    def _unit(self) -> float:
        """The step of its input."""
        return float(numpy_helper.to_array(self.tensors[self.source.input[1]]).item())

    def _matrix(self) -> Numbers:
        """Its weights in numbers, shape (groups, out, inputs)."""
        whole, scale = (
            numpy_helper.to_array(self.tensors[name]).astype(np.float64)
            for name in self.weight.input[:2]
        )
        if self.turned:
            whole = whole.T
        rows = whole.reshape(len(whole), -1) * scale.reshape(-1, 1)
        return rows.reshape(self.window.groups, -1, rows.shape[1])


def _layers(small: onnx.ModelProto, plain: onnx.ModelProto) -> Iterator[Layer]:
    """The layers of an int8 network that can be fitted, in the order of data."""
    tensors = {item.name: item for item in small.graph.initializer}
    outputs = {node.name: node.output[0] for node in plain.graph.node}
    makers = {
        node.output[0]: node
        for node in small.graph.node
        if node.op_type == "DequantizeLinear"
    }
    readers: dict[str, int] = {}
    for node in small.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for node in small.graph.node:
        if node.name not in outputs or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        source, weight, bias = (
            makers.get(node.input[at]) if at < len(node.input) else None
            for at in (0, WEIGHT, BIAS)
        )
        if source is None or weight is None or weight.input[0] not in tensors:
            continue
        parts = [weight, *([bias] if bias is not None else [])]
        alone = all(
            readers[name] == 1
            for part in parts
            for name in (part.output[0], *part.input[:2])
        )
        plain_bias = bias is None and len(node.input) > BIAS and node.input[BIAS]
        turned = _turned(node)
        if not alone or plain_bias or turned is None:
            continue
        dims = tensors[weight.input[0]].dims
        if int(np.prod(dims)) // dims[-1 if turned else 0] <= MOST_INPUTS:
            name = outputs[node.name]
            yield Layer(node, name, tensors, weight, source, bias, turned)


def _turned(node: onnx.NodeProto) -> bool | None:
    """Whether a layer's weight has inputs first; None where it scales what it makes."""
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if given.get("alpha", 1) != 1 or given.get("beta", 1) != 1 or given.get("transA"):
        return None
    return node.op_type != "Conv" and not given.get("transB", 0)


def _outputs(
    plain: onnx.ModelProto,
    layers: Sequence[Layer],
    feeds: Sequence[Feeds],
    folder: Path,
) -> dict[str, tuple[list[Places], Numbers]]:
    """What the float network makes at some places of each layer, and which."""
    names = [layer.output for layer in layers]
    session = _session(plain, names, folder)
    places: dict[str, list[Places]] = {name: [] for name in names}
    values: dict[str, list[Floats]] = {name: [] for name in names}
    for run, fed in enumerate(feeds):
        made = session.run(names, dict(fed))
        for at, (layer, y) in enumerate(
            zip(layers, map(np.asarray, made), strict=True)
        ):
            count = -(-layer.places // len(feeds))
            seed = run * len(layers) + at
            found = some_places(y.shape, count, seed, behind=layer.behind)
            places[layer.output].append(found)
            values[layer.output].append(outputs_at(y, found, behind=layer.behind))
    return {
        name: (places[name], np.concatenate(values[name]).astype(np.float64))
        for name in names
    }


def _session(
    proto: onnx.ModelProto, names: Sequence[str], folder: Path
) -> ort.InferenceSession:
    path = with_outputs(proto, names, folder)
    return ort.InferenceSession(str(path), quiet_options(), [CPU])


def _replace_(tensor: onnx.TensorProto, values: Numbers) -> None:
    """Other values in the same shape; of equal ones a scale holds one."""
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    held = values.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    tensor.CopyFrom(numpy_helper.from_array(held.astype(kind), tensor.name))
