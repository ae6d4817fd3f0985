"""What numbers does the file hold and make: infinite, denormal, too wide, unused?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from edgeprune.doctor.examined import Examined
from edgeprune.onnx_files.denormals import flush_denormals_
from edgeprune.records.doctor import Finding
from edgeprune.units import megabytes

WIDE = {TensorProto.DOUBLE: "float64"}
HALF = TensorProto.FLOAT16
MUCH = 0.001  # of the weights' bytes


def not_finite(file: Examined) -> Iterator[Finding]:
    """NaN or infinity among the weights, or in what it answers."""
    found = []
    for name, item in file.weights.items():
        values = file.values(item)
        if values is not None and values.dtype.kind == "f" and np.isnan(values).any():
            found.append(name)
    if found:
        yield Finding(
            "nan_weights",
            "blocker",
            f"{', '.join(found[:3])} hold NaN, so that it answers nothing",
            "look at the training: the weights are broken",
        )
    elif file.refused is None and (feeds := file.feeds()) is not None:
        with suppress(Exception):
            made = file.session(ort.SessionOptions()).run(None, feeds)
            if not all(
                np.isfinite(item).all() for item in made if item.dtype.kind == "f"
            ):
                yield Finding(
                    "nan_outputs",
                    "warning",
                    "its outputs are not finite for random inputs",
                    "look for divisions, logarithms and masks in float16",
                )


def denormals(file: Examined) -> Iterator[Finding]:
    """Weights so small that processors are slow with them."""
    places = {item.data_location for item in file.weights.values()}
    if TensorProto.EXTERNAL in places:  # in a file beside it
        return
    flushed = onnx.ModelProto()
    flushed.CopyFrom(file.proto)
    count = flush_denormals_(flushed)
    if count:
        yield Finding(
            "denormals",
            "warning",
            f"{count} weights are below the smallest normal number, with which "
            "processors are many times slower",
            "set them to 0",
            _gain(file, flushed),
        )


def widths_of_numbers(file: Examined) -> Iterator[Finding]:
    """float64 and float16, where processors compute in float32."""
    kinds = {item.data_type for item in file.weights.values() if len(item.dims)}
    for kind, name in WIDE.items():
        if kind in kinds:
            yield Finding(
                "float64",
                "warning",
                f"it holds weights of {name}, which take twice the time and memory",
                "export the module in float32",
            )
    if HALF in kinds and file.runner.target.runtime.provider == "CPUExecutionProvider":
        yield Finding(
            "float16_on_cpu",
            "warning",
            "it holds weights of float16, which this provider casts to float32 and "
            "back at every operator that has no kernel for them",
            "export it in float32, or quantise it",
            file.ms_of("Cast"),
        )


def unused(file: Examined) -> Iterator[Finding]:
    """Weights that nothing reads."""
    read = {name for node in file.graph.node for name in node.input}
    read |= {item.name for item in file.graph.output}
    inner = any(item.HasField("g") for n in file.graph.node for item in n.attribute)
    size = sum(
        item.ByteSize() for name, item in file.weights.items() if name not in read
    )
    if not inner and size > MUCH * file.path.stat().st_size:
        yield Finding(
            "unused_weights",
            "note",
            f"{megabytes(size)} of weights are read by nothing",
            "take them out: they are shipped and loaded",
        )


def _gain(file: Examined, other: onnx.ModelProto) -> float | None:
    """By how many ms another form of it is faster."""
    ratio = file.ratio_to(other)
    if ratio is None or file.ms is None:
        return None
    return (1 - 1 / ratio) * file.ms


CHECKS = (not_finite, denormals, widths_of_numbers, unused)
