"""How much of a file phones' own providers take, by ONNX Runtime's static lists.

Advice, not a measurement: the lists know operators by name, not what a driver really
does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

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
    """What NNAPI and CoreML take of a file.

    Nothing where its shapes are not known, or where this runtime comes without lists.
    """
    proto = onnx.load(path)
    proto.graph.ClearField("value_info")  # of a file that others have pruned it is old
    proto = onnx.shape_inference.infer_shapes(proto)
    found: list[Taken] = []
    try:
        from onnxruntime.tools.mobile_helpers import usability_checker as lists

        for name, info in (
            ("NNAPI", lists.check_nnapi_partitions(proto, True)),
            ("CoreML", lists.check_coreml_partitions(proto, True, ML_PROGRAM)),
        ):
            counts = info.num_supported_nodes, info.num_nodes, info.num_partitions
            found.append(Taken(name, *counts))
    except (ImportError, AttributeError, ValueError, KeyError, OSError):
        return ()
    return tuple(found)
