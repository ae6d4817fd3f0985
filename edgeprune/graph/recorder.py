"""Every ATen operator of a run as a node of a graph.

Much as torch's own tracers do it, without what they keep for other ends: a third of
their time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.weak import TensorWeakRef

from edgeprune.graph.torch_private import (
    EarlyMode,
    FakeTensor,
    last_node,
    node_before,
    tree_map_only,
)

CONSTANT = "constant"  # in a node's meta: a tensor of the user's code


class Recorder(EarlyMode):
    """Records operators before any of them is taken apart into simpler ones.

    Attributes:
        graph: what has run; a node's meta has its result's shape under `val`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graph = fx.Graph()
        # By id, which another tensor may have later: a run on real data must not hold
        # all that it has made.
        self._nodes: dict[int, tuple[fx.Node, TensorWeakRef]] = {}

    def placeholder(self, tensor: Tensor) -> fx.Node:
        """An input of the graph."""
        return self._made(self.graph.placeholder("given"), tensor)

    def recognise(self, value: object, node: fx.Node) -> None:
        """A tensor that torch has wrapped anew on its way out of a factory."""
        if isinstance(value, Tensor) and self.known(value) is None:
            made = node.meta.get("val")
            if isinstance(made, Tensor) and made.shape == value.shape:
                self._nodes[id(value)] = node, TensorWeakRef(value)

    def output(self, tensors: list[Tensor]) -> None:
        """Set the graph's outputs."""
        self.graph.output([self._node(tensor) for tensor in tensors])

    def known(self, value: object) -> fx.Node | None:
        """The node that a tensor is the result of; None for anything else."""
        found = self._nodes.get(id(value)) if isinstance(value, Tensor) else None
        return found[0] if found is not None and found[1]() is value else None

    @property
    def last(self) -> fx.Node:
        """The node that was made last; at first the graph's root."""
        return last_node(self.graph)

    def since(self, last: fx.Node) -> list[fx.Node]:
        """The nodes that were made after another one, the latest first."""
        found: list[fx.Node] = []
        node = self.last
        while node is not last:
            found.append(node)
            node = node_before(node)
        return found

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        taken = tree_map_only(Tensor, self._node, (args, kwargs))
        node = self.graph.create_node("call_function", func, *taken)
        if isinstance(result, Tensor):
            self._made(node, result)
        elif isinstance(result, tuple | list):
            node.meta["val"] = [_without_data(item) for item in result]
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    picked = self.graph.call_function(operator.getitem, (node, index))
                    self._made(picked, item)
        return result

    def _node(self, tensor: Tensor) -> fx.Node:
        """A tensor's node; a new one for a constant of the user's code."""
        node = self.known(tensor)
        if node is None:
            node = self._made(self.graph.create_node("get_attr", "constant"), tensor)
            node.meta[CONSTANT] = tensor
        return node

    def _made(self, node: fx.Node, tensor: Tensor) -> fx.Node:
        self._nodes[id(tensor)] = node, TensorWeakRef(tensor)
        node.meta["val"] = _without_data(tensor)
        return node


def _without_data(value: Any) -> Any:
    """A tensor's shape and type, not its memory."""
    if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
        return value
    return torch.empty(value.shape, dtype=value.dtype, device="meta")
