"""Networks that torch's exporter takes only inside of another one.

It puts parameters into a `GraphModule`, whose own `meta`, `graph` or `code` children of
these names would hide; one level down nothing clashes. It writes tensors alone.
"""

from __future__ import annotations

import inspect
from typing import Any

import onnx
from torch import nn
from torch.fx import GraphModule

from edgeprune.tasks.structure import tensors_in

INSIDE = "inside"
OF_GRAPHS = ("meta", "shape_env")  # what graphs have without their class having it


def exportable(model: nn.Module, *, mixed: bool = False) -> nn.Module:
    """The network, or one around it that computes the same.

    Args:
        mixed: it gives values that are no tensors, too, which are left out.
    """
    own = [*dict(model.named_children()), *dict(model.named_parameters(recurse=False))]
    clashes = any(hasattr(GraphModule, name) or name in OF_GRAPHS for name in own)
    return Around(model, mixed=mixed) if clashes or mixed else model


def name_outside_(proto: onnx.ModelProto) -> None:
    """Give weights the names that they have without the network around theirs."""
    prefix = f"{INSIDE}."
    for item in proto.graph.initializer:
        item.name = item.name.removeprefix(prefix)
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = name.removeprefix(prefix)


class Around(nn.Module):
    """Calls the only network in it, with the same parameters by the same names."""

    def __init__(self, model: nn.Module, *, mixed: bool) -> None:
        super().__init__()
        self.training = model.training
        setattr(self, INSIDE, model)

        def forward(*given: Any, **named: Any) -> Any:
            made = model(*given, **named)
            return tuple(tensors_in(made)) if mixed else made

        vars(forward)["__signature__"] = inspect.signature(model.forward)
        self.forward = forward
