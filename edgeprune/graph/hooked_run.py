"""A traced network run on real data, watched at points of its graph.

The operators of the run are counted off against the trace, so that functional layers
and modules that are called twice are watched as well as any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, fx, nn

from edgeprune.errors import TraceError
from edgeprune.graph.forward import untouched
from edgeprune.graph.operators import operator_named, operator_of
from edgeprune.graph.provenance import as_watched
from edgeprune.graph.torch_private import (
    EarlyMode,
    has_schema,
    plain_name,
    python_dispatcher,
    tree_flatten,
    tree_leaves,
    tree_unflatten,
)
from edgeprune.graph.trace import Trace

Reading = tuple[fx.Node, fx.Node]  # an operator and what made the value that it reads
See = Callable[[Reading, Tensor], Tensor | None]


def run_with_hooks(
    model: nn.Module, traced: Trace, x: Tensor, places: Iterable[Reading], see: See
) -> Tensor:
    """Run a model in evaluation mode; `see` is shown values on the way.

    Args:
        x: any number of samples of the shape that was traced.
        see: is given a place and its value, before the operator there runs; what it
            returns, if anything, is read in its stead.

    Raises:
        TraceError: the model takes another way with these inputs.
    """
    with (
        untouched(model),
        python_dispatcher(),
        as_watched(),
        _Replay(traced, places, see),
    ):
        return model(x)


class _Replay(EarlyMode):
    """Counts operators off against the trace."""

    def __init__(self, traced: Trace, places: Iterable[Reading], see: See) -> None:
        super().__init__()
        self._ahead = _operators(traced)
        self._next = next(self._ahead, None)
        self._see = see
        self._values: dict[fx.Node, list[fx.Node]] = {}
        for reader, value in dict.fromkeys(places):
            self._values.setdefault(reader, []).append(value)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        node = self._matched(func)
        if node is not None and node in self._values:
            args, kwargs = self._shown(node, args, kwargs)
        return func(*args, **kwargs)

    def _matched(self, func: Callable[..., Any]) -> fx.Node | None:
        """The node of an operator; None for one that the trace lacks."""
        node = self._next
        while node is not None and node.target is not func:
            if not operator_of(node).optional:
                break
            node = next(self._ahead, None)
        self._next = node
        if node is not None and node.target is func:
            self._next = next(self._ahead, None)
            return node
        if operator_named(plain_name(func)).optional:
            return None
        message = (
            f"The model takes another way with these data than with the example: "
            f"{func} where {node.target if node else 'the end'} was traced."
        )
        raise TraceError(message)

    def _shown(
        self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments after all that is watched among them has been seen."""
        places = tree_leaves((node.args, node.kwargs))
        leaves, structure = tree_flatten((args, kwargs))
        for value in self._values[node]:
            at = next(index for index, item in enumerate(places) if item is value)
            seen = self._see((node, value), leaves[at])
            leaves[at] = leaves[at] if seen is None else seen
        return tree_unflatten(leaves, structure)


def _operators(traced: Trace) -> Iterator[fx.Node]:
    for node in traced.nodes:
        if node.op == "call_function" and has_schema(node.target):
            yield node
