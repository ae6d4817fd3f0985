"""A network's ONNX file at other widths, in a tenth of a second and not in five.

Time does not depend on the values of weights, so the layers of one exported file are
cut to size in place. Where the exporter wrote down what cannot be cut like this, the
pruned module itself is exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from edgeprune.errors import ExportError
from edgeprune.files import write_whole
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.model_copy import copied
from edgeprune.graph.surgery import apply, cuts_of, numbers_of, plan_surgery
from edgeprune.graph.trace import Inputs, state_of
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.measure.shortcuts import write_shortcuts_as_conv
from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.records import Plan

Cuts = Mapping[str, Mapping[int, npt.NDArray[np.int64]]]
UNFIT = (
    ExportError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
    IndexError,
)
OPEN = -1  # the one size of a Reshape that the runtime works out


class ResizedModels:
    """Writes a network at other widths.

    Args:
        folder: where files are written; it exists.
        shortcuts_as_conv: write shortcuts without parameters as convolutions.

    Attributes:
        reference: the file at full widths.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        inputs: Inputs,
        folder: Path,
        *,
        shortcuts_as_conv: bool = False,
    ) -> None:
        self._model, self._graph, self._inputs = (
            _with_distinct_initializers(model),
            graph,
            inputs,
        )
        self._folder, self._shortcuts_as_conv = folder, shortcuts_as_conv
        self.reference = folder / "reference.onnx"
        write_onnx(self._model, inputs, self.reference)
        proto = onnx.load(self.reference)
        self._arrays = {
            item.name: numpy_helper.to_array(item) for item in proto.graph.initializer
        }
        del proto.graph.initializer[:]
        del proto.graph.value_info[:]
        self._skeleton = proto
        self._finish_(self.reference)

    @cached_property
    def quick(self) -> bool:
        """Whether files can be cut to size; found out by one more export."""
        return self._can_cut(_halved(self._graph))

    def write(self, plan: Plan, name: str) -> Path:
        """The network under a plan as `name`.onnx."""
        path = self._folder / f"{name}.onnx"
        if self.quick and not plan.bypassed:
            write_whole(path, self._cut(plan).SerializeToString())
        else:
            pruned = apply(self._model, self._graph, plan)
            write_onnx(pruned, self._inputs, path)
        self._finish_(path)
        return path

    def _finish_(self, path: Path) -> None:
        if self._shortcuts_as_conv:
            write_shortcuts_as_conv(path, path)

    def _can_cut(self, plan: Plan) -> bool:
        """Whether what is cut has the shapes of what is exported."""
        pruned = apply(self._model, self._graph, plan)
        path = self._folder / "exported.onnx"
        write_onnx(pruned, self._inputs, path)
        exported = onnx.load(path).graph
        path.unlink()
        self._open_sizes(exported)
        try:
            cut = self._cut(plan)
            onnx.checker.check_model(cut, full_check=True)
        except UNFIT:
            return False
        return _weights(cut.graph) == _weights(exported)

    def _open_sizes(self, exported: onnx.GraphProto) -> None:
        """Leave open the size of each Reshape that differs between two exports."""
        other = {
            item.name: numpy_helper.to_array(item) for item in exported.initializer
        }
        nodes = self._skeleton.graph.node
        for before, after in zip(nodes, exported.node, strict=False):
            if before.op_type != "Reshape" or after.op_type != "Reshape":
                continue
            old, new = self._arrays.get(before.input[1]), other.get(after.input[1])
            if old is None or new is None or old.shape != new.shape:
                continue
            changed = np.flatnonzero(old != new)
            if len(changed) == 1:
                name = f"{before.output[0]} sizes"
                self._arrays[name] = np.where(old != new, OPEN, old)
                before.input[1] = name

    def _cut(self, plan: Plan) -> onnx.ModelProto:
        surgery = plan_surgery(self._model, self._graph, plan)
        cuts: Cuts = cuts_of(surgery)
        divided = {
            module: value
            for (module, attribute, _), value in numbers_of(surgery).items()
            if attribute == "groups"
        }
        arrays = {
            name: _sliced(value, cuts.get(name, {}))
            for name, value in self._arrays.items()
        }
        proto = onnx.ModelProto()
        proto.CopyFrom(self._skeleton)
        for node in proto.graph.node:
            if not onnx_operator(node.op_type).convolution:
                continue
            weight = node.input[1]
            outputs = cuts.get(weight, {}).get(int(node.op_type == "ConvTranspose"))
            if (
                len(node.input) > 2
                and node.input[2] not in cuts
                and outputs is not None
            ):
                bias = node.input[2]
                arrays[bias] = self._arrays[bias][outputs]
            module = weight.rpartition(".")[0]
            if module in divided:
                _set_groups(node, divided[module])
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in arrays.items()
        )
        return proto


def _halved(graph: ChannelGraph) -> Plan:
    """Half of every group, so that each width differs from what it was."""
    return Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})


def _with_distinct_initializers(model: nn.Module) -> nn.Module:
    """A copy whose small tensors all differ: the exporter would merge equal ones."""
    changed = copied(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in state_of(changed).values():
            if tensor.ndim == 1 and tensor.is_floating_point():
                noise = 0.01 * torch.rand(tensor.shape, generator=generator)
                tensor.mul_(1 + noise).add_(noise)
    return changed


def _sliced(
    value: npt.NDArray[np.generic], cuts: Mapping[int, npt.NDArray[np.int64]]
) -> npt.NDArray[np.generic]:
    for axis, indices in cuts.items():
        value = value.take(indices, axis=axis)
    return value


def _set_groups(node: onnx.NodeProto, groups: int) -> None:
    kept = [item for item in node.attribute if item.name != "group"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("group", groups)])


def _weights(graph: onnx.GraphProto) -> list[tuple[str, list[int]]]:
    """The shape of each layer's weight, in order."""
    shapes = {item.name: list(item.dims) for item in graph.initializer}
    return [
        (node.op_type, shapes[name])
        for node in graph.node
        for name in node.input
        if len(shapes.get(name, [])) > 1
    ]
