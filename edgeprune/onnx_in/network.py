"""A network that runs the operators of an ONNX file, one module for each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeprune.errors import first_line
from edgeprune.onnx_files.graph import Constants, constants_of
from edgeprune.onnx_files.portable import OPSET, PLAIN_DOMAINS, opset_of
from edgeprune.onnx_files.shapes import Sample
from edgeprune.onnx_in.blocks import blocks_in
from edgeprune.onnx_in.layers import FIRST_TWO, LAYERS, linear
from edgeprune.onnx_in.node import Built, Node, UnknownFormError
from edgeprune.onnx_in.opaque import opaque
from edgeprune.onnx_in.pointwise import POINTWISE
from edgeprune.onnx_in.positions import POSITIONS, Function
from edgeprune.onnx_in.steps import Block, Step, Steps

BUILDERS = {**LAYERS, **POSITIONS, **POINTWISE}
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Elu")


class ImportedNetwork(Steps):
    """The network of an ONNX file.

    It takes the file's inputs in their order, or by name, and gives its outputs: one
    tensor, or a tuple where there are several.

    Attributes:
        skeleton: the file without what modules hold.
    """

    def __init__(
        self,
        skeleton: onnx.ModelProto,
        layers: dict[str, nn.Module],
        constants: dict[str, Tensor],
        steps: list[Step],
    ) -> None:
        held = {item.name for item in skeleton.graph.initializer}
        names = [item.name for item in skeleton.graph.input if item.name not in held]
        made = [item.name for item in skeleton.graph.output]
        super().__init__(steps, layers, constants, made)
        self.skeleton = skeleton
        self.input_names, self.output_names = tuple(names), tuple(made)

    @property
    def sample(self) -> Sample:
        """The shape of a sample; of several inputs by their names."""
        shapes = {
            item.name: tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
            for item in self.skeleton.graph.input
        }
        found = {name: shapes[name][1:] for name in self.input_names}
        return found if len(found) > 1 else found[self.input_names[0]]

    @property
    def whole_numbers(self) -> dict[str, np.dtype[Any]]:
        """The types of those inputs that are whole numbers, as bytes."""
        kinds = {
            item.name: onnx.helper.tensor_dtype_to_np_dtype(
                item.type.tensor_type.elem_type
            )
            for item in self.skeleton.graph.input
            if item.name in self.input_names
        }
        return {name: kind for name, kind in kinds.items() if kind.kind in "iu"}

    def forward(self, *given: Tensor, **named: Tensor) -> Any:
        """The outputs of the file, by its inputs in their order or by name.

        Raises:
            TypeError: others are given.
        """
        names = [name for name in self.input_names if name not in named]
        if len(names) != len(given) or not named.keys() <= set(self.input_names):
            found = ", ".join(named) or f"{len(given)} of them"
            message = f"the file's inputs are {', '.join(self.input_names)}"
            raise TypeError(f"{message}; given were {found}")
        values = {**dict(zip(names, given, strict=True)), **named}
        self.run(values)
        found = tuple(self.value(values, name) for name in self.output_names)
        return found[0] if len(found) == 1 else found


def network_of(proto: onnx.ModelProto) -> ImportedNetwork:
    """The network of a file whose shapes are fixed and inferred.

    Raises:
        UnknownFormError: an operator can neither be converted nor run by itself.
    """
    return _Builder(proto).network()


class _Builder:
    """Makes the modules of a file."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, graph = proto, proto.graph
        self.constants: Constants = constants_of(graph)
        infos = (*graph.input, *graph.value_info, *graph.output)
        self.shapes = {
            item.name: tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
            for item in infos
            if item.type.tensor_type.HasField("shape")
            and all(axis.dim_value for axis in item.type.tensor_type.shape.dim)
        }
        self.types = {item.name: item.type.tensor_type.elem_type for item in infos}
        self.readers: dict[str, list[int]] = {}
        for number, node in enumerate(graph.node):
            for name in node.input:
                self.readers.setdefault(name, []).append(number)
        self.outputs = {item.name for item in graph.output}
        self.layers: dict[str, nn.Module] = {}
        self.shared: dict[Any, str] = {}

    def network(self) -> ImportedNetwork:
        """The whole of it."""
        steps: list[Step] = []
        absorbed: set[int] = set()
        for number, proto in enumerate(self.proto.graph.node):
            if number in absorbed:
                continue
            step = self._step(number, proto)
            if step.bias_from >= 0:
                absorbed.add(step.bias_from)
                behind = tuple(self.proto.graph.node[step.bias_from].output)
                step = replace(step, outputs=behind)
            steps.append(step)
        read = {item for step in steps for item in step.inputs} | self.outputs
        named = {
            str(name): torch.from_numpy(np.array(self.constants[str(name)]))
            for name in sorted(read & self.constants.keys())
        }
        skeleton = self._skeleton(steps, named)
        steps = self._in_blocks(steps, named)
        return ImportedNetwork(skeleton, self.layers, named, steps).eval()

    def _in_blocks(self, steps: list[Step], named: dict[str, Tensor]) -> list[Step]:
        """The steps with residual blocks as one of them each; tensors move along."""
        kinds = [self.proto.graph.node[step.node].op_type for step in steps]
        found = blocks_in(
            steps,
            [at for at, kind in enumerate(kinds) if kind == "Add"],
            [at for at, kind in enumerate(kinds) if kind in ACTIVATIONS],
            self.shapes,
            self.outputs,
        )
        blocks = {block.start: block for block in found}
        made: list[Step] = []
        at = 0
        while at < len(steps):
            block = blocks.get(at)
            inner = steps[block.start : block.stop] if block else []
            if block is None or self._shares(inner, steps):
                made.append(steps[at])
                at += 1
                continue
            made.append(self._block(inner, named))
            at = block.stop
        return made

    def _shares(self, inner: list[Step], steps: list[Step]) -> bool:
        """Whether a layer or a constant tensor of a block is used elsewhere, too."""
        others = [step for step in steps if step not in inner]
        outside = {step.layer for step in others}
        outside |= {name for step in others for name in step.constants}
        return any(not outside.isdisjoint((s.layer, *s.constants)) for s in inner)

    def _block(self, inner: list[Step], named: dict[str, Tensor]) -> Step:
        given = inner[0].values[0]
        layers = {step.layer: self.layers[step.layer] for step in inner}
        for name in layers:
            del self.layers[name]
        constants = {
            name: named.pop(name)
            for step in inner
            for name in step.constants
            if name in named
        }
        name = f"block_of_{inner[0].layer}"
        self.layers[name] = Block(inner, layers, constants, given)
        last = inner[-1]
        return Step(name, last.node, (given,), last.outputs, inner=tuple(inner))

    def _step(self, number: int, proto: onnx.NodeProto) -> Step:
        node = Node.of(
            proto, self.constants, self.shapes, opset_of(self.proto) or OPSET
        )
        built = self._built(node)
        key = self._sharing(node, built)
        layer = self.shared.get(key)
        if layer is None:
            layer = self._name(node)
            self.layers[layer] = built.module
            self.shared[key] = layer
        outputs = tuple(proto.output)
        first = proto.input[0] if proto.input else ""
        rank = len(self.shapes.get(first, ()))
        pads, behind = built.pads, built.bias_from
        held = [item for item in built.inputs if item in self.constants]
        constants = tuple(str(item) for item in held)
        return Step(layer, number, built.inputs, outputs, pads, behind, rank, constants)

    def _built(self, node: Node) -> Built:
        try:
            return self._converted(node)
        except UnknownFormError as error:
            try:
                return opaque(node, self.types, self.proto.ir_version)
            except UnknownFormError as other:
                message = f"{node.kind}: {error}; {other}"
                raise UnknownFormError(message) from error

    def _converted(self, node: Node) -> Built:
        if node.proto.domain not in PLAIN_DOMAINS:
            raise UnknownFormError("an operator of another domain")
        if node.kind == "MatMul":
            return self._product(node)
        if node.kind not in BUILDERS:
            raise UnknownFormError("no counterpart")
        try:
            return BUILDERS[node.kind](node)
        except UnknownFormError:
            raise
        except Exception as error:  # of an attribute or a shape that nobody foresaw
            raise UnknownFormError(first_line(error)) from error

    def _product(self, node: Node) -> Built:
        """MatMul: a linear layer where one factor is a constant matrix."""
        held = node.constant(1)
        if held is None or held.ndim != FIRST_TWO or held.dtype != np.float32:
            return Built(Function(torch.matmul), node.values())
        behind = self._bias_behind(node.proto.output[0], held.shape[1])
        bias = None
        if behind >= 0:
            given = self.proto.graph.node[behind].input
            name = next(item for item in given if item in self.constants)
            bias = torch.from_numpy(np.array(self.constants[name]).reshape(-1))
        layer = linear(node.weight(1).T, bias)
        return Built(layer, (node.inputs[0],), bias_from=behind)

    def _bias_behind(self, name: str, length: int) -> int:
        """The number of the only reader of a value, where it adds one constant row."""
        readers = self.readers.get(name, [])
        if len(readers) != 1 or name in self.outputs:
            return -1
        node = self.proto.graph.node[readers[0]]
        held = [self.constants[item] for item in node.input if item in self.constants]
        row = len(held) == 1 and held[0].shape[-1:] == (length,) == (held[0].size,)
        return readers[0] if node.op_type == "Add" and row else -1

    def _sharing(self, node: Node, built: Built) -> Any:
        """What calls of one module have in common: all constants and attributes."""
        if not any(True for _ in built.module.parameters()):
            return id(node.proto), tuple(node.proto.output)
        weights = tuple(name for name in node.inputs if name in self.constants)
        behind = ()
        if built.bias_from >= 0:
            behind = tuple(self.proto.graph.node[built.bias_from].input)
        attributes = tuple(
            sorted(item.SerializeToString() for item in node.proto.attribute)
        )
        constant_behind = tuple(name for name in behind if name in self.constants)
        # What is padded on its own depends on the size of the image.
        how = repr(built.module), built.pads
        return node.kind, weights, constant_behind, attributes, how

    def _name(self, node: Node) -> str:
        """A name that a module may have, after the layer's weight or the node."""
        weight = next((item for item in node.inputs[1:] if item in self.constants), "")
        name = node.proto.name or node.proto.output[0]
        if weight.endswith(".weight"):
            name = weight.removesuffix(".weight")
        name = re.sub(r"\W+", "_", name).strip("_") or "layer"
        name = f"{name}_" if hasattr(nn.ModuleDict(), name) else name
        return f"{name}_{len(self.layers)}" if name in self.layers else name

    def _skeleton(self, steps: list[Step], named: dict[str, Tensor]) -> onnx.ModelProto:
        """The file without the weights and constants that modules hold."""
        kept = onnx.ModelProto()
        kept.CopyFrom(self.proto)
        del kept.graph.value_info[:]
        del kept.graph.initializer[:]
        weighted = {
            step.node
            for step in steps
            if any(True for _ in self.layers[step.layer].parameters())
        }
        absorbed = {step.bias_from for step in steps}
        needed = {
            name
            for number, node in enumerate(self.proto.graph.node)
            if number not in weighted | absorbed
            for name in node.input
        }
        kept.graph.initializer.extend(
            item
            for item in self.proto.graph.initializer
            if item.name in needed and item.name not in named
        )
        return kept
