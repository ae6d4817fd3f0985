"""Weights so small that processors are many times slower with them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def flush_denormals_(proto: onnx.ModelProto) -> int:
    """Set weights below the smallest normal number to 0; how many there were."""
    least = np.finfo(np.float32).tiny
    count = 0
    for item in proto.graph.initializer:
        if item.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(item)
        tiny = (values != 0) & (np.abs(values) < least)
        if tiny.any():
            count += int(tiny.sum())
            flushed = np.where(tiny, np.float32(0), values)
            item.CopyFrom(numpy_helper.from_array(flushed, item.name))
    return count
