"""Lengths that an ONNX file leaves open, and how they are fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

Lengths = tuple[int, ...]
Sample = Lengths | Mapping[str, Lengths]  # of the first input, or of several by name


def sample_text(sample: Sample) -> str:
    """As `--input` has it."""
    if isinstance(sample, Mapping):
        return ",".join(f"{name}={sample_text(one)}" for name, one in sample.items())
    return "x".join(map(str, sample))


def open_axes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """The axes of inputs that have no length, the first among them."""
    held = {item.name for item in proto.graph.initializer}
    return {
        item.name: [
            at
            for at, axis in enumerate(item.type.tensor_type.shape.dim)
            if axis.dim_value <= 0
        ]
        for item in proto.graph.input
        if item.name not in held
    }


def takes(proto: onnx.ModelProto, sample: Sample) -> bool:
    """Whether a sample has the lengths of the inputs, where these have some."""
    given = {item.name: item for item in proto.graph.input}
    if not isinstance(sample, Mapping):
        sample = {proto.graph.input[0].name: sample}
    return all(
        name in given and _fits(given[name].type.tensor_type.shape.dim[1:], lengths)
        for name, lengths in sample.items()
    )


def _fits(axes: Sequence[onnx.TensorShapeProto.Dimension], lengths: Lengths) -> bool:
    return len(axes) == len(lengths) and all(
        axis.dim_value in (size, 0) or axis.dim_value < 0
        for axis, size in zip(axes, lengths, strict=True)
    )


def write_fixed(proto: onnx.ModelProto, sample: Sample | None, path: Path) -> bool:
    """Write a file with fixed shapes, one sample at a time; whether it could be.

    Args:
        sample: shape of a sample of the first input, or by name, for axes that are
            open.
    """
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    opened = open_axes(proto)
    for item in held.graph.input:
        axes = item.type.tensor_type.shape.dim
        told = sample.get(item.name) if isinstance(sample, Mapping) else sample
        for at in opened.get(item.name, []):
            if at and (told is None or len(told) != len(axes) - 1):
                return False
            axes[at].dim_value = told[at - 1] if at and told else 1
    if any(opened.values()):  # shapes behind them were open, too
        del held.graph.value_info[:]
        for item in held.graph.output:
            item.type.tensor_type.ClearField("shape")
    onnx.save(held, path)
    return True
