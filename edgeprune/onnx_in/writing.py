"""An imported network as a file again: the one it came from, with other weights.

What no module holds stays as it was: names, operators, their order. So a network can be
written that torch's own exporter refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edgeprune.errors import ExportError
from edgeprune.onnx_files.graph import sweep_
from edgeprune.onnx_files.portable import OPSET, opset_of
from edgeprune.onnx_in.layers import CONVOLUTIONS, FIRST_TWO, TRANSPOSED
from edgeprune.onnx_in.network import ImportedNetwork
from edgeprune.onnx_in.positions import Reshape, Slice, Split
from edgeprune.onnx_in.steps import Block, Step, Steps

Shapes = Mapping[str, tuple[int, ...]]
CONVOLVING = (*CONVOLUTIONS.values(), *TRANSPOSED.values())
AFFINE = ("weight", "bias")
STATISTICS = (*AFFINE, "running_mean", "running_var")
# What else an operator reads behind its first input, in its order.
CHANNELWISE: dict[Any, tuple[str, ...]] = {
    nn.BatchNorm1d: STATISTICS,
    nn.BatchNorm2d: STATISTICS,
    nn.BatchNorm3d: STATISTICS,
    nn.InstanceNorm1d: AFFINE,
    nn.InstanceNorm2d: AFFINE,
    nn.InstanceNorm3d: AFFINE,
    nn.LayerNorm: AFFINE,
}
AS_INPUTS = {"Split": 13, "Slice": 10}  # from which operator set on numbers are inputs
SCALES = ("alpha", "beta", "transB")  # of Gemm, which weights hold now


def written(
    model: ImportedNetwork, shapes: Shapes, *, dynamic_batch: bool
) -> onnx.ModelProto:
    """The file of an imported network.

    Args:
        shapes: of its inputs, by name and in the order in which they are fed.
        dynamic_batch: leave the first axis open.

    Raises:
        ExportError: a layer has become something that cannot stand in the file.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.skeleton)
    _Writer(proto, model).write_()
    sweep_(proto.graph)
    _order_inputs_(proto, shapes)
    for item, shape in zip(proto.graph.input, shapes.values(), strict=False):
        axes = item.type.tensor_type.shape
        del axes.dim[:]
        for length in shape:
            axes.dim.add().dim_value = length
        if dynamic_batch:
            axes.dim[0].dim_param = "batch"
    for item in proto.graph.output:
        item.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def _order_inputs_(proto: onnx.ModelProto, names: Iterable[str]) -> None:
    """Put the inputs that are fed first, in their order."""
    given = {item.name: item for item in proto.graph.input}
    ordered = [given.pop(name) for name in names]
    held = [*ordered, *given.values()]
    copies = [onnx.ValueInfoProto() for _ in held]
    for copy, item in zip(copies, held, strict=True):
        copy.CopyFrom(item)
    del proto.graph.input[:]
    proto.graph.input.extend(copies)


class _Writer:
    """Puts what modules hold into a skeleton."""

    def __init__(self, proto: onnx.ModelProto, model: ImportedNetwork) -> None:
        self.graph, self.model = proto.graph, model
        self.opset = opset_of(proto) or OPSET
        self.nodes = list(self.graph.node)
        self.held = {item.name for item in self.graph.initializer}

    def write_(self) -> None:
        """All layers and constants, in their places."""
        other: dict[int, list[onnx.NodeProto]] = {}
        self.steps_(self.model, "", other)
        if other:
            nodes = [
                made
                for number, node in enumerate(self.nodes)
                for made in other.get(number, [node])
            ]
            copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
            del self.graph.node[:]
            self.graph.node.extend(copies)

    def steps_(
        self, run: Steps, path: str, other: dict[int, list[onnx.NodeProto]]
    ) -> None:
        """What some steps hold.

        Args:
            path: of the module that runs them, with a dot behind it.
            other: the operators that stand in the place of others, which is added to.
        """
        for name, buffer in run.constant_names.items():
            self.put(name, getattr(run, buffer))
        for step in run.steps:
            layer, name = run.layers[step.layer], f"{path}layers.{step.layer}"
            if isinstance(layer, Block):
                self.steps_(layer, f"{name}.", other)
            elif isinstance(layer, nn.Identity) or _is_chain(layer):
                other |= {number: [] for number in step.nodes}
                other[step.node] = list(self.instead(step, name, layer))
            else:
                self.fill_(step, name, layer)

    def put(self, name: str, value: Tensor) -> str:
        """Keep a value in the file; one that is there stays."""
        if name not in self.held:
            array = np.ascontiguousarray(value.detach().cpu().numpy())
            self.graph.initializer.append(numpy_helper.from_array(array, name))
            self.held.add(name)
        return name

    def weights(self, name: str, layer: Any, names: tuple[str, ...]) -> list[str]:
        """Keep those tensors of a layer that it has."""
        return [
            self.put(f"{name}.{item}", value)
            for item in names
            if (value := getattr(layer, item)) is not None
        ]

    def fill_(self, step: Step, name: str, layer: Any) -> None:
        """The operator of a layer, with what the layer holds."""
        node = self.nodes[step.node]
        if isinstance(layer, CONVOLVING):
            _read_(node, [node.input[0], *self.weights(name, layer, AFFINE)])
            _set_(node, group=layer.groups)
        elif isinstance(layer, nn.Linear):
            self.linear_(step, name, layer)
        elif (names := CHANNELWISE.get(type(layer))) is not None:
            _read_(node, [node.input[0], *self.weights(name, layer, names)])
        elif isinstance(layer, nn.PReLU):
            slope = layer.weight.reshape(-1, *(1,) * (step.rank - FIRST_TWO))
            _read_(node, [node.input[0], self.put(f"{name}.weight", slope)])
        elif isinstance(layer, nn.Embedding):
            node.input[0] = self.put(f"{name}.weight", layer.weight)
        else:
            self.numbers_(step, _numbers_of(layer))

    def numbers_(self, step: Step, numbers: dict[str, tuple[int, ...]]) -> None:
        """The whole numbers of an operator: inputs, or attributes of an older one."""
        node, names = self.nodes[step.node], list[str]()
        if not numbers:
            return
        if self.opset < AS_INPUTS.get(node.op_type, 0):
            _set_(node, **numbers)
            return
        for key, values in numbers.items():
            names.append(f"{key} of node {step.node}")
            array = np.array(values, dtype=np.int64)
            self.graph.initializer.append(numpy_helper.from_array(array, names[-1]))
        _read_(node, [node.input[0], *names])
        _forget_(node, "num_outputs")

    def linear_(self, step: Step, name: str, layer: nn.Linear) -> None:
        """Gemm, or a product and a sum."""
        node = self.nodes[step.node]
        if node.op_type == "Gemm":
            _read_(node, [node.input[0], *self.weights(name, layer, AFFINE)])
            _forget_(node, *SCALES)
            _set_(node, transB=1)
            return
        _read_(node, [node.input[0], self.put(f"{name}.weight", layer.weight.T)])
        if step.bias_from >= 0:
            behind = self.nodes[step.bias_from]
            _read_(behind, [node.output[0], self.put(f"{name}.bias", layer.bias)])

    def instead(
        self, step: Step, path: str, layer: nn.Module
    ) -> Iterator[onnx.NodeProto]:
        """What stands in the place of a layer that is left out, or is a product now.

        Raises:
            ExportError: it was given something uneven at its ends.
        """
        before = str(step.inputs[0])
        if not isinstance(layer, nn.Sequential):
            yield helper.make_node("Identity", [before], list(step.outputs))
            return
        if step.pads:
            message = f"{step.layer} has uneven padding and cannot be factored"
            raise ExportError(f"{message}: --low-rank no leaves layers whole.")
        parts = list(layer.named_children())
        for at, (key, part) in enumerate(parts):
            name = f"{path}.{key}"
            made = step.outputs[0] if at == len(parts) - 1 else f"{name} output"
            if isinstance(part, nn.Linear):
                names = [before, *self.weights(name, part, AFFINE)]
                yield from self.product(names, made)
            else:
                names = [before, *self.weights(name, part, AFFINE)]
                yield helper.make_node("Conv", names, [made], **_moves(part))
            before = made

    def product(self, names: list[str], made: str) -> Iterator[onnx.NodeProto]:
        """A linear layer of any number of axes."""
        weight = next(it for it in self.graph.initializer if it.name == names[1])
        turned = numpy_helper.to_array(weight).T
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turned), names[1]))
        plain = made if len(names) == FIRST_TWO else f"{made} product"
        yield helper.make_node("MatMul", names[:2], [plain])
        if plain != made:
            yield helper.make_node("Add", [plain, names[2]], [made])


def _numbers_of(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The lengths that a module holds, under the operator's names for them."""
    if isinstance(layer, Reshape):
        return {"shape": layer.sizes}
    if isinstance(layer, Split):
        return {"split": layer.sizes}
    if not isinstance(layer, Slice):
        return {}
    bounds = {"starts": layer.starts, "ends": layer.ends, "axes": layer.axes}
    return bounds if max(layer.steps) == 1 else {**bounds, "steps": layer.steps}


def _is_chain(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Sequential)


def _moves(layer: Any) -> dict[str, Any]:
    """How a convolution's window moves, as attributes."""
    return {
        "group": layer.groups,
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "dilations": list(layer.dilation),
        "pads": [*layer.padding, *layer.padding],
    }


def _read_(node: onnx.NodeProto, names: list[str]) -> None:
    del node.input[:]
    node.input.extend(names)


def _forget_(node: onnx.NodeProto, *names: str) -> None:
    kept = [item for item in node.attribute if item.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _set_(node: onnx.NodeProto, **values: Any) -> None:
    _forget_(node, *values)
    node.attribute.extend(helper.make_attribute(*pair) for pair in values.items())
