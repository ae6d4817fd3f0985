"""How much of a file phones' own providers take, by ONNX Runtime's static lists.

Advice, not a measurement: the lists know operators by name, not what a driver really
does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.tools.mobile_helpers.usability_checker import (
    check_coreml_partitions,
    check_nnapi_partitions,
)

ML_PROGRAM = "coreml_supported_mlprogram_ops.md"  # CoreML's newer format


@dataclass(frozen=True)
class Taken:
    """What one provider takes of a graph.

    Attributes:
        partitions: into which the graph falls; values are copied between them.
    """

    provider: str
    supported: int
    operators: int
    partitions: int


def advice(path: Path) -> tuple[Taken, ...]:
    """What NNAPI and CoreML take of a file; nothing where its shapes are not known."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(path))
    found: list[Taken] = []
    try:
        for name, info in (
            ("NNAPI", check_nnapi_partitions(proto, True)),
            ("CoreML", check_coreml_partitions(proto, True, ML_PROGRAM)),
        ):
            counts = info.num_supported_nodes, info.num_nodes, info.num_partitions
            found.append(Taken(name, *counts))
    except (ValueError, KeyError, OSError):
        return ()
    return tuple(found)
