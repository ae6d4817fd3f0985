"""Operators that torch has no counterpart of: ONNX Runtime computes them as they are.

Nothing in front of them can be learnt by gradients through them, and no channels that
they read are removed; what stands elsewhere in the network is pruned as ever.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edgeprune.errors import WorkloadError
from edgeprune.onnx_in.node import Built, Node, UnknownFormError

_FILES: dict[str, bytes] = {}
_SESSIONS: dict[str, ort.InferenceSession] = {}


class Opaque(nn.Module):
    """One operator with its constants as a file of its own."""

    def __init__(self, file: bytes) -> None:
        super().__init__()
        self.file = file
        self.key = hashlib.sha256(file).hexdigest()

    @property
    def kind(self) -> str:
        """The operator, such as LSTM."""
        return onnx.load_from_string(self.file).graph.node[0].op_type

    def forward(self, *given: Tensor) -> Any:
        """What the runtime computes; several values where there are several.

        Raises:
            WorkloadError: gradients are asked for.
        """
        if torch.is_grad_enabled() and any(item.requires_grad for item in given):
            raise WorkloadError(f"{self.kind} of an ONNX file has no gradient.")
        _FILES.setdefault(self.key, self.file)
        made = run_node(self.key, list(given))
        return made[0] if len(made) == 1 else tuple(made)


@torch.library.custom_op("edgeprune::onnx_node", mutates_args=())
def run_node(key: str, given: list[Tensor]) -> list[Tensor]:
    """Run the operator that is kept under a key."""
    device = given[0].device if given else torch.device("cpu")
    arrays = [item.detach().cpu().contiguous().numpy() for item in given]
    return [torch.from_numpy(item).to(device) for item in _outputs(key, arrays)]


@run_node.register_fake
def _(key: str, given: list[Tensor]) -> list[Tensor]:
    arrays = [
        np.zeros(tuple(item.shape), torch.empty(0, dtype=item.dtype).numpy().dtype)
        for item in given
    ]
    device = given[0].device if given else torch.device("cpu")
    return [
        torch.empty(item.shape, dtype=torch.from_numpy(item).dtype, device=device)
        for item in _outputs(key, arrays)
    ]


def _outputs(key: str, arrays: list[Any]) -> list[Any]:
    if key not in _SESSIONS:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        _SESSIONS[key] = ort.InferenceSession(
            _FILES[key], options, ["CPUExecutionProvider"]
        )
    session = _SESSIONS[key]
    names = [item.name for item in session.get_inputs()]
    made = session.run(None, dict(zip(names, arrays, strict=True)))
    return [np.array(item) for item in made]


def opaque(node: Node, types: dict[str, int], ir_version: int) -> Built:
    """The module of an operator that is run as it stands in the file.

    Args:
        types: of the values of the file, as ONNX numbers them.

    Raises:
        UnknownFormError: a graph stands in it, or the type of a value is not known.
    """
    if any(item.HasField("g") or item.graphs for item in node.proto.attribute):
        raise UnknownFormError("a graph stands in it")
    given = [name for name in dict.fromkeys(node.inputs) if name]
    values = [name for name in given if name not in node.constants]
    made = [name for name in node.proto.output if name]
    if missing := [name for name in (*values, *made) if name not in types]:
        raise UnknownFormError(f"the type of {missing[0]} is not known")
    graph = helper.make_graph(
        [node.proto],
        "node",
        [helper.make_tensor_value_info(name, types[name], None) for name in values],
        [helper.make_tensor_value_info(name, types[name], None) for name in made],
        [
            numpy_helper.from_array(np.ascontiguousarray(node.constants[name]), name)
            for name in given
            if name in node.constants
        ],
    )
    imports = [helper.make_opsetid("", node.opset)]
    if node.proto.domain:
        imports.append(helper.make_opsetid(node.proto.domain, 1))
    proto = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    return Built(Opaque(proto.SerializeToString()), tuple(values))


def without_gradient(model: nn.Module) -> tuple[str, ...]:
    """The operators of a network that nothing can be learnt through, each kind once."""
    kinds = [item.kind for item in model.modules() if isinstance(item, Opaque)]
    return tuple(dict.fromkeys(kinds))
