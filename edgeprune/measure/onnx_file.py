"""A module as one ONNX file: checked, names kept, weights inside.

It stands with measuring because only a file can be measured: the profile and every
attempt of the planner need one, long before the export stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from edgeprune.errors import ExportError, first_line
from edgeprune.files import write_whole
from edgeprune.graph.cost import layers_of
from edgeprune.graph.data_access import DataAsOperators
from edgeprune.graph.forward import evaluating, quiet
from edgeprune.graph.torch_private import exporter_tables_kept
from edgeprune.graph.trace import Inputs, trace
from edgeprune.measure.exportable import exportable, name_outside_
from edgeprune.measure.open_batch import check_open_batch, some_samples
from edgeprune.measure.shortcuts import SELECTION
from edgeprune.onnx_files.denormals import flush_denormals_
from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.onnx_files.portable import OPSET, make_portable_
from edgeprune.onnx_in.network import ImportedNetwork
from edgeprune.onnx_in.writing import written
from edgeprune.temporary import last_words
from edgeprune.workload.packed import (
    Packing,
    inputs_by_name,
    packing_of,
    unpacked,
    unpacked_inputs,
)

INPUT_NAME = "input"
OUTPUT_NAME = "output"
MATRIX = 2  # axes of a linear layer's weight; a convolution's has more
# What ONNX Runtime adds to the names of nodes that it fuses or lays out anew.
FUSED_PREFIX, LAYOUT_SUFFIX = "fused ", "_nchwc"


def write_onnx(
    model: nn.Module,
    inputs: Inputs,
    path: Path,
    *,
    dynamic_batch: bool = False,
    flush: bool = True,
) -> int:
    """Write a model in float32 at evaluation mode, whole or not at all.

    Args:
        inputs: example inputs, whose shapes the file fixes.
        dynamic_batch: leave the first axis open.
        flush: set denormal weights to 0; processors are slow with them.

    Returns:
        How many weights were flushed.

    Raises:
        ExportError: the exporter or the checker refuses the model, or the file
            computes something else for another number of samples.
    """
    if dynamic_batch:  # of one sample the exporter would make a fixed number
        inputs = some_samples(inputs, max(len(inputs[0]), 2))
    packing = packing_of(model)
    model, inputs = unpacked(model), unpacked_inputs(model, inputs)
    try:
        if isinstance(model, ImportedNetwork):
            given = inputs_by_name(packing, model.input_names, inputs)
            shapes = {name: tuple(item.shape) for name, item in given.items()}
            proto = written(model, shapes, dynamic_batch=dynamic_batch)
        else:
            proto = _exported(model, inputs, packing, dynamic_batch=dynamic_batch)
        make_portable_(proto)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        message = f"{type(model).__name__} cannot be written as ONNX: {_cause(error)}."
        raise ExportError(message) from error
    if dynamic_batch:
        check_open_batch(model, inputs, proto)
    flushed = flush_denormals_(proto) if flush else 0
    write_whole(path, proto.SerializeToString())
    return flushed


def _exported(
    model: nn.Module,
    inputs: Inputs,
    packing: Packing | None,
    *,
    dynamic_batch: bool,
) -> onnx.ModelProto:
    """The file of torch's exporter, with names that say what is what."""
    taken = packing.inputs if packing else None
    given = packing.outputs if packing else None
    names = _input_names(model, inputs) if taken is None else list(taken.names)
    keyed = taken is not None and taken.keyed
    axes = {0: Dim("batch", min=1)}
    shapes: Any = None
    if dynamic_batch:
        shapes = dict.fromkeys(names, axes) if keyed else (axes,) * len(inputs)
    with _exporting(model):
        around = exportable(model, mixed=given is not None and given.mixed)
        program = torch.onnx.export(
            around,
            () if keyed else inputs,
            kwargs=dict(zip(names, inputs, strict=True)) if keyed else None,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=None if given is None else list(given.names),
            dynamic_shapes=shapes,
            verbose=False,
            external_data=False,
        )
    proto = program.model_proto  # pyright: ignore[reportOptionalMemberAccess]
    if around is not model:
        name_outside_(proto)
    _name_output_(proto)
    if packing is None:
        _name_weights_(proto, model, inputs)
    return proto


@contextmanager
def _exporting(model: nn.Module) -> Iterator[None]:
    """Run torch's exporter, which some code makes crash."""
    words = (
        f"edgeprune: the process was ended while torch's exporter wrote "
        f"{type(model).__name__}; if nobody ended it, its code makes the exporter crash"
    )
    with (
        last_words(words),
        evaluating(model),
        quiet(),
        exporter_tables_kept(),
        DataAsOperators(),
    ):
        yield


def _input_names(model: nn.Module, inputs: Inputs) -> list[str]:
    if len(inputs) == 1 and INPUT_NAME not in dict(model.named_parameters()):
        return [INPUT_NAME]
    return [f"{INPUT_NAME}_{index}" for index in range(len(inputs))]


def _name_weights_(proto: onnx.ModelProto, model: nn.Module, inputs: Inputs) -> None:
    """Give weights that were folded the names of the parameters they came from.

    Layers of the file stand in the order of the trace; what does not fit, stays.
    """
    shapes = {item.name: tuple(item.dims) for item in proto.graph.initializer}
    own = dict(model.state_dict())
    used = [
        node.input[1]
        for node in proto.graph.node
        if onnx_operator(node.op_type).convolution and node.input[1] in shapes
    ]
    if all(name in own for name in used):
        return
    paths = [
        path
        for path in layers_of(trace(model, inputs)).values()
        if len(own[path].shape) > MATRIX
    ]
    if len(paths) != len(used):
        return
    renamed = {
        old: new
        for old, new in zip(used, paths, strict=True)
        if old not in own and new not in shapes and shapes[old] == tuple(own[new].shape)
    }
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    for item in proto.graph.initializer:
        item.name = renamed.get(item.name, item.name)


def _cause(error: BaseException) -> str:
    """The reason at the bottom of an exporter's chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, GuardOnDataDependentSymNode):
        return "its code decides by the values of tensors, which a file cannot"
    return first_line(error)


def layer_of_node(name: str, layers: Mapping[str, str], before: str) -> str:
    """The layer that an operator of the runtime belongs to.

    Args:
        name: of the operator in the runtime's profile.
        layers: from values and nodes of the file to weights: see `weights_of_nodes`.
        before: the layer of the operator before it, whose reorders have no own one.
    """
    plain = name.removeprefix(FUSED_PREFIX).removesuffix(LAYOUT_SUFFIX)
    return layers.get(plain, before)


def weights_of_nodes(path: Path) -> dict[str, str]:
    """For every value in an ONNX file, the weight of the layer that made it.

    The runtime names its fused operators after values; a weight keeps its path in the
    module. Values without a weighted layer before them are absent.
    """
    graph = onnx.load(path).graph
    weights = {item.name for item in graph.initializer}
    made_by: dict[str, str] = {}
    for node in graph.node:
        own = [
            name
            for name in node.input
            if name in weights and not name.startswith(SELECTION)
        ]
        if onnx_operator(node.op_type).layer and own:
            layer = own[0]
        else:
            layer = next((made_by[name] for name in node.input if name in made_by), "")
        for name in (node.name, *node.output):
            if layer:
                made_by[name] = layer
    return made_by


@dataclass(frozen=True)
class NodeFacts:
    """What the time of a layer's node depends on beside its widths.

    Attributes:
        operator: such as Conv.
        kernel: lengths of the weight's axes beyond the channels.
        groups: how many, or "depthwise", where they are the channels.
    """

    operator: str
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int | str = 1


def facts_of_layers(path: Path) -> dict[str, NodeFacts]:
    """Describe the node of each layer of an ONNX file, by its weight."""
    graph = onnx.load(path).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    found: dict[str, NodeFacts] = {}
    for node in graph.node:
        weight = next((name for name in node.input[1:] if name in shapes), None)
        if not onnx_operator(node.op_type).layer or weight is None:
            continue
        held = {item.name: item for item in node.attribute}
        groups: int | str = held["group"].i if "group" in held else 1
        shape = shapes[weight]
        if groups != 1 and len(shape) > MATRIX and shape[1] == 1:
            groups = "depthwise"
        strides, dilations = (
            tuple(held[name].ints) if name in held else ()
            for name in ("strides", "dilations")
        )
        kernel = shape[MATRIX:]
        found[weight] = NodeFacts(node.op_type, kernel, strides, dilations, groups)
    return found


def _name_output_(proto: onnx.ModelProto) -> None:
    """Give a single output its plain name."""
    if len(proto.graph.output) != 1:
        return
    taken = {item.name for item in proto.graph.initializer}
    new = OUTPUT_NAME if OUTPUT_NAME not in taken else f"{OUTPUT_NAME}_0"
    old = proto.graph.output[0].name
    proto.graph.output[0].name = new
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
