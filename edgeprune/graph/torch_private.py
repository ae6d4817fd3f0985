"""All that is used of torch that torch does not promise to keep: in this file alone.

When a new torch breaks something, `tests/graph/test_torch_private.py` says what of it
is missing, and this is the place to mend it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.utils._pytree import (
    tree_flatten,
    tree_leaves,
    tree_map_only,
    tree_unflatten,
)

__all__ = [
    "EarlyMode",
    "FakeTensor",
    "FakeTensorMode",
    "argument_defaults",
    "exporter_registry_kept",
    "functions_opened",
    "has_schema",
    "last_node",
    "node_before",
    "plain_name",
    "python_dispatcher",
    "tree_flatten",
    "tree_leaves",
    "tree_map_only",
    "tree_unflatten",
]

# A function of torch that is written in Python asks these whether to hand itself over
# as a whole. It must not: the operators inside it are what is watched.
ASKED = (
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
)


class EarlyMode(ProxyTorchDispatchMode):
    """A mode that is asked before an operator is taken apart into simpler ones.

    Only modes of its base class are asked so early, which is all that is taken from it.
    """

    def __init__(self) -> None:
        super().__init__(None, "real", pre_dispatch=True)  # pyright: ignore[reportArgumentType]


def python_dispatcher() -> AbstractContextManager[Any]:
    """Inside, modes see operators before autograd does."""
    return enable_python_dispatcher()


def functions_opened() -> AbstractContextManager[Any]:
    """Inside, torch's own functions run operator by operator under a mode."""

    def never(*_: object) -> bool:
        return False

    return patch.multiple(torch.nn.functional, **dict.fromkeys(ASKED, never))


def exporter_registry_kept() -> AbstractContextManager[Any]:
    """Inside, the ONNX exporter does not build its table of operators anew.

    It takes the exporter longer than to write a small network. A torch without such a
    table is left as it is.
    """
    try:
        build, registry = _registry_builder()
    except (ImportError, AttributeError):
        return nullcontext()
    return patch.object(registry, "from_torchlib", staticmethod(build))


@cache
def _registry_builder() -> tuple[Any, Any]:
    """Find the function that builds the registry, and the class that it belongs to."""
    from torch.onnx._internal.exporter import _registration

    registry = _registration.ONNXRegistry
    return cache(registry.from_torchlib), registry


def last_node(graph: fx.Graph) -> fx.Node:
    """The node that was made last; at first the graph's root."""
    return graph._root._prev  # pyright: ignore[reportPrivateUsage]


def node_before(node: fx.Node) -> fx.Node:
    """The node that was made before another one."""
    return node._prev  # pyright: ignore[reportPrivateUsage]


def has_schema(target: object) -> bool:
    """Whether a function is an operator of ATen or of a library like it."""
    return hasattr(target, "_schema")


def plain_name(target: Any) -> str:
    """An operator's name without its library, overload and mark of being in place."""
    name = target._schema.name.split("::")[1]
    return name if name.startswith("_") else name.rstrip("_")


def argument_defaults(target: Any) -> dict[str, Any]:
    """The names of an operator's arguments in their order, with their defaults."""
    return {item.name: item.default_value for item in target._schema.arguments}
