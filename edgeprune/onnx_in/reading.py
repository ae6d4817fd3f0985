"""An ONNX file as a module, proved to be the same function before it is used.

Constants are folded by ONNX Runtime; each operator then becomes a module of torch's.
Shapes that the file holds as numbers are written so that they follow the number of
samples and of channels; where that is not possible, the groups in front of them are
refused later.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper, version_converter

from edgeprune.errors import WorkloadError, first_line
from edgeprune.onnx_files.feeds import Given, inputs_of
from edgeprune.onnx_files.graph import constants_of, without_weights_as_inputs
from edgeprune.onnx_files.portable import OPSET, opset_of
from edgeprune.onnx_files.shapes import Sample, sample_text, takes, write_fixed
from edgeprune.onnx_in.network import ImportedNetwork, network_of
from edgeprune.onnx_in.node import UnknownFormError
from edgeprune.tasks.structure import tensors_in
from edgeprune.temporary import temporary_folder

TOLERANCE = 1e-3  # of the largest output
NOTHING = 1e-6  # a difference of values, however small all are: the runtime's sigmoid
SEVERAL = 3  # samples: what holds for one need not for more
QUANTIZES = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger")
HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
RECURRENT, STATES = ("LSTM", "GRU", "RNN"), (5, 6)  # the inputs that they begin with
# It turns products over several axes into ones of a matrix, where samples are merged.
MERGES = ["MatMulAddFusion"]


def load_onnx_model(path: Path, sample: Sample | None) -> ImportedNetwork:
    """The module of a file.

    Args:
        sample: shape of a sample, where the file leaves it open.

    Raises:
        WorkloadError: it is no ONNX file, is in int8, holds an operator that cannot be
            run by itself, or what comes of it computes something else.
    """
    proto = _read(path)
    if any(node.op_type in QUANTIZES for node in proto.graph.node):
        message = f"{path} is in int8 already: give the float file that it was made of"
        raise WorkloadError(f"{message}.")
    if any(item.data_type in HALVES for item in proto.graph.initializer):
        message = f"{path} is in float16: give the file in float32 that it was made of"
        raise WorkloadError(f"{message}.")
    _check_samples(path, proto)
    if sample is not None and not takes(proto, sample):
        shape = sample_text(sample)
        raise WorkloadError(f"{path} does not take --input {shape}.")
    with temporary_folder() as folder:
        fixed = folder / "fixed.onnx"
        if not write_fixed(proto, sample, fixed):
            message = f"{path} leaves the size of its input open: give --input"
            raise WorkloadError(f"{message}, such as --input 3x224x224.")
        try:
            net = network_of(_folded(path, fixed, folder))
        except UnknownFormError as error:
            message = f"{path} holds an operator that cannot be run by itself"
            raise WorkloadError(f"{message} ({error}).") from error
        _prove(path, net, fixed)
    return net


def _read(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:
        message = f"{path} is no ONNX file that can be read: {first_line(error)}."
        raise WorkloadError(message) from error
    proto = without_weights_as_inputs(proto)
    proto.graph.ClearField("value_info")  # of a file that others have pruned it is old
    return proto


def _check_samples(path: Path, proto: onnx.ModelProto) -> None:
    """Refuse inputs of which one sample cannot be given.

    Raises:
        WorkloadError: which, and how many it takes.
    """
    for item in proto.graph.input:
        axes = item.type.tensor_type.shape.dim
        if axes and axes[0].dim_value > 1:
            message = f"{path} takes {axes[0].dim_value} rows of {item.name} at a time"
            raise WorkloadError(
                f"{message}: its first axis must be that of samples, one or any number "
                "of them."
            )


def _folded(path: Path, fixed: Path, folder: Path) -> onnx.ModelProto:
    """The file with its constants computed, and shapes that follow their inputs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    try:
        ort.InferenceSession(
            str(fixed), options, ["CPUExecutionProvider"], disabled_optimizers=MERGES
        )
    except Exception as error:
        message = f"ONNX Runtime does not load {path}: {first_line(error)}."
        raise WorkloadError(message) from error
    proto = _at_our_opset(onnx.load(folder / "folded.onnx"))
    _hold_constants_(proto.graph)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    _follow_(proto)
    _forget_states_(proto)
    return proto


def _at_our_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a file to the operators that others are written with, where that works.

    Channels of int8 weights can have scales of their own from 13 on only.
    """
    if (opset_of(proto) or OPSET) >= OPSET:
        return proto
    try:
        return version_converter.convert_version(proto, OPSET)
    except Exception:  # noqa: BLE001  of whatever kind: the file stays as it is
        return proto


def _hold_constants_(graph: onnx.GraphProto) -> None:
    """Turn constants that are operators, as the conversion makes them, into values."""
    constants = constants_of(graph)
    for node in list(graph.node):
        if node.op_type == "Constant" and node.output[0] in constants:
            value = numpy_helper.from_array(constants[node.output[0]], node.output[0])
            graph.initializer.append(value)
            graph.node.remove(node)


def _forget_states_(proto: onnx.ModelProto) -> None:
    """Leave out first states of recurrent layers that are 0 of one sample anyhow."""
    constants = constants_of(proto.graph)
    for node in proto.graph.node:
        if node.op_type not in RECURRENT:
            continue
        for at in STATES:
            held = constants.get(node.input[at]) if len(node.input) > at else None
            if held is not None and not held.any():
                node.input[at] = ""


def _follow_(proto: onnx.ModelProto) -> None:
    """Let reshapes to numbers follow the samples and the channels."""
    graph, constants = proto.graph, constants_of(proto.graph)
    shapes = {
        item.name: [axis.dim_value for axis in item.type.tensor_type.shape.dim]
        for item in (*graph.input, *graph.value_info, *graph.output)
    }
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        before = shapes.get(node.input[0])
        wanted = [int(size) for size in constants[node.input[1]]]
        if before is None or not wanted:
            continue
        name = f"shape of reshape {number}"
        values = np.array(_following(before, wanted), dtype=np.int64)
        graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[1] = name
        del node.attribute[:]  # a 0 is what stands there before


def _following(before: list[int], wanted: list[int]) -> list[int]:
    """A shape with 0 for the samples, and -1 where the channels are."""
    after = list(wanted)
    if not before or after[0] not in (before[0], 0, -1) or len(after) == 1:
        return after
    after[0] = 0
    if -1 in after[1:]:
        return after
    same = 0  # positions at the end
    while (
        same < min(len(before), len(after)) - 2
        and before[-1 - same] == after[-1 - same] > 0
    ):
        same += 1
    free = range(1, len(after) - same)
    if before[0] != 0 and math.prod(before[1:]) and free:
        widest = max(free, key=lambda at: after[at])
        after[widest] = -1
    return after


def _prove(path: Path, model: ImportedNetwork, fixed: Path) -> None:
    """Compare the module with the file, on one sample and on several.

    Raises:
        WorkloadError: it computes something else.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(fixed), options, ["CPUExecutionProvider"])
    given = [(item.name, item) for item in inputs_of(session)]
    x = {name: _some(item) for name, item in given}
    made: list[Any] = [
        session.run(None, {name: value[at : at + 1] for name, value in x.items()})
        for at in range(SEVERAL)
    ]
    for count in (1, SEVERAL):
        samples = "one sample" if count == 1 else f"{count} samples at a time"
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parts = [torch.from_numpy(value[:count]) for value in x.values()]
                found = tensors_in(model(*parts))
        except Exception as error:
            message = f"{path} was converted, and the module does not run on {samples}"
            raise WorkloadError(f"{message}: {first_line(error)}.") from error
        for one, *others in zip(found, *made[:count], strict=True):
            difference = _difference(one.numpy(), np.concatenate(others))
            if difference is not None:
                raise WorkloadError(
                    f"{path} was converted, and the module answers otherwise than the "
                    f"file on {samples}: {difference}."
                )


def _some(given: Given) -> Any:
    """Random values for an input."""
    generator, shape = np.random.default_rng(0), (SEVERAL, *given.shape)
    if np.issubdtype(given.dtype, np.floating):
        return generator.standard_normal(shape).astype(given.dtype)
    return generator.integers(0, 2, shape).astype(given.dtype)


def _difference(found: Any, expected: Any) -> str | None:
    if found.shape != expected.shape:
        return f"shape {found.shape} in place of {expected.shape}"
    found, expected = np.float64(found), np.float64(expected)
    off, most = np.abs(found - expected).max(), np.abs(expected).max()
    if off <= TOLERANCE * most + NOTHING:
        return None
    return f"by {off / max(most, 1e-12):.1e} of the largest output"
