"""A module made of an ONNX file, proved to be the same function before it is used.

Constants are folded by ONNX Runtime, the rest is converted by onnx2pytorch. Shapes that
the file holds as numbers are written so that they follow the number of samples and of
channels; where that is not possible, the groups in front of them are refused later.
"""

from __future__ import annotations

import importlib.util
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune.errors import WorkloadError, first_line
from edgeprune.onnx_files.graph import constants_of
from edgeprune.onnx_files.shapes import Sample, open_axes, takes, write_fixed
from edgeprune.temporary import temporary_folder

TOLERANCE = 1e-3  # of the largest output
SEVERAL = 3  # samples: what holds for one need not for more
CHANNELS = 1  # the axis
QUANTIZES = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger")


class ImportedNetwork(nn.Module):
    """A converted network, with the names that its file's input and output have."""

    def __init__(self, net: nn.Module, input_name: str, output_name: str) -> None:
        super().__init__()
        self.net = net
        self.input_name, self.output_name = input_name, output_name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs of the file."""
        return self.net(x)


class Mean(nn.Module):
    """A mean over axes that are numbers; the converter's own cannot be exported."""

    def __init__(self, axes: Any, *, keeps: bool) -> None:
        super().__init__()
        self.axes, self.keeps = axes, keeps

    def forward(self, x: torch.Tensor, axes: Any = None) -> torch.Tensor:
        """The mean; of all values where no axes are given."""
        found = self.axes if axes is None else axes
        if found is None:
            found = range(x.dim())
        whole = (found,) if isinstance(found, int) else tuple(found)
        return x.mean(whole, self.keeps)


def load_onnx_model(path: Path, sample: Sample | None) -> nn.Module:
    """The module of a file.

    Args:
        sample: shape of a sample, where the file leaves it open.

    Raises:
        WorkloadError: it is no ONNX file, is in int8, cannot be converted, or what
            comes of it computes something else.
    """
    if importlib.util.find_spec("onnx2pytorch") is None:
        message = "An ONNX file needs the package onnx2pytorch: pip install 'edgeprune"
        raise WorkloadError(f"{message}[onnx-in]'.")
    proto = _read(path)
    if any(node.op_type in QUANTIZES for node in proto.graph.node):
        message = f"{path} is in int8 already: give the float file that it was made of"
        raise WorkloadError(f"{message}.")
    if len(proto.graph.output) != 1 or len(open_axes(proto)) != 1:
        names = ", ".join(item.name for item in proto.graph.output)
        message = f"{path} has {len(open_axes(proto))} inputs and the outputs {names}"
        raise WorkloadError(f"{message}: one of each is taken.")
    if sample is not None and not takes(proto, sample):
        shape = "x".join(map(str, sample))
        raise WorkloadError(f"{path} does not take --input {shape}.")
    with temporary_folder() as folder:
        fixed = folder / "fixed.onnx"
        if not write_fixed(proto, sample, fixed):
            message = f"{path} leaves the size of its input open: give --input"
            raise WorkloadError(f"{message}, such as --input 3x224x224.")
        net = _converted(path, _folded(path, fixed, folder))
        _prove(path, net, fixed)
    (given,) = open_axes(proto)
    return ImportedNetwork(net, given, proto.graph.output[0].name).eval()


def _read(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:
        message = f"{path} is no ONNX file that can be read: {first_line(error)}."
        raise WorkloadError(message) from error
    return proto


def _folded(path: Path, fixed: Path, folder: Path) -> onnx.ModelProto:
    """The file with its constants computed, and shapes that follow their inputs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    try:
        ort.InferenceSession(str(fixed), options, ["CPUExecutionProvider"])
    except Exception as error:
        message = f"ONNX Runtime does not load {path}: {first_line(error)}."
        raise WorkloadError(message) from error
    proto = onnx.shape_inference.infer_shapes(onnx.load(folder / "folded.onnx"))
    _follow_(proto)
    _rename_(proto)
    return proto


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


def _rename_(proto: onnx.ModelProto) -> None:
    """Give values names that modules and parameters may have."""
    taken: dict[str, str] = {"": ""}

    def plain(name: str) -> str:
        if name not in taken:
            short = re.sub(r"\W", "_", name)
            taken[name] = (
                short if short not in taken.values() else f"{short}_{len(taken)}"
            )
        return taken[name]

    graph = proto.graph
    for node in graph.node:
        node.name = ""
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                names[at] = plain(name)
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.name = plain(item.name)


def _converted(path: Path, proto: onnx.ModelProto) -> nn.Module:
    from onnx2pytorch import ConvertModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ConvertModel(proto, experimental=True)
    except Exception as error:
        kinds = sorted({node.op_type for node in proto.graph.node})
        message = (
            f"{path} cannot be converted ({type(error).__name__}: "
            f"{first_line(error)}); its operators are {', '.join(kinds)}."
        )
        raise WorkloadError(message) from error
    for name, value in list(model.named_buffers(recurse=False)):
        if not value.is_floating_point():  # axes and shapes: numbers, no state
            delattr(model, name)
            object.__setattr__(model, name, _plain(value))
    for name, module in list(model.named_children()):
        if type(module).__name__ == "ReduceMean":
            keeps = bool(module.keepdim)
            setattr(model, name, Mean(module.dim, keeps=keeps))
    return model.eval()


def _plain(value: torch.Tensor) -> Any:
    """Numbers as Python has them, so that a network with them can be exported again."""
    return tuple(value.tolist()) if value.dim() == 1 else value


def _prove(path: Path, model: nn.Module, fixed: Path) -> None:
    """Compare the module with the file, on one sample and on several.

    Raises:
        WorkloadError: it computes something else.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(fixed), options, ["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SEVERAL, *given.shape[1:], generator=generator)
    made: list[Any] = [
        session.run(None, {given.name: part.numpy()})[0] for part in x.split(1)
    ]
    expected = np.concatenate(made)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = model(x).numpy()
    except Exception as error:
        message = (
            f"{path} was converted, and the module does not run: {first_line(error)}."
        )
        raise WorkloadError(message) from error
    if found.shape != expected.shape:
        message = f"shape {found.shape} in place of {expected.shape}"
    else:
        off = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12)
        if off <= TOLERANCE:
            return
        message = f"by {off:.1e} of the largest output"
    raise WorkloadError(
        f"{path} was converted, and the module answers otherwise than the file: "
        f"{message}."
    )
