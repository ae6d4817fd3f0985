"""Lengths that an ONNX file leaves open, and how they are fixed."""

from __future__ import annotations

from pathlib import Path

import onnx

Sample = tuple[int, ...]


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
    """Whether a sample has the lengths of the first input, where that has some."""
    axes = proto.graph.input[0].type.tensor_type.shape.dim[1:]
    return len(axes) == len(sample) and all(
        axis.dim_value in (size, 0) or axis.dim_value < 0
        for axis, size in zip(axes, sample, strict=True)
    )


def write_fixed(proto: onnx.ModelProto, sample: Sample | None, path: Path) -> bool:
    """Write a file with fixed shapes, one sample at a time; whether it could be.

    Args:
        sample: shape of a sample of the first input, for axes that are open.
    """
    held = onnx.ModelProto()
    held.CopyFrom(proto)
    opened = open_axes(proto)
    for item in held.graph.input:
        axes = item.type.tensor_type.shape.dim
        for at in opened.get(item.name, []):
            if at and (sample is None or len(sample) != len(axes) - 1):
                return False
            axes[at].dim_value = sample[at - 1] if at and sample else 1
    if any(opened.values()):  # shapes behind them were open, too
        del held.graph.value_info[:]
        for item in held.graph.output:
            item.type.tensor_type.ClearField("shape")
    onnx.save(held, path)
    return True
