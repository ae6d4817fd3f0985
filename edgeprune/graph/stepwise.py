"""A network run operator by operator, many batches side by side.

Whoever looks at a value of all samples, as least squares do, stops the run there,
changes the weights of what comes next and goes on: nothing is computed twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.graph.recorder import CONSTANT
from edgeprune.graph.rules import result_shape
from edgeprune.graph.trace import Trace, retrace

BYTES = 4  # of a number


class StepwiseInterpreter:
    """A run in evaluation mode that can stop at every operator.

    Args:
        traced: of real batches as large as these, by `trace_batch`.
        state: the parameters and buffers, by path; read when an operator runs.
        batches: inputs, each of the shape that was traced.
    """

    def __init__(
        self, traced: Trace, state: Mapping[str, Tensor], batches: Sequence[Tensor]
    ) -> None:
        self._ahead = list(traced.nodes)[::-1]
        self._owners, self._state = traced.owners, state
        self._given = list(batches)
        self._values: list[dict[fx.Node, Any]] = [{} for _ in batches]
        self._last = last_uses(traced)

    def up_to(self, node: fx.Node) -> None:
        """Run all that comes before an operator."""
        while self._ahead[-1] is not node:
            self._step()

    def through(self, node: fx.Node) -> None:
        """Run all up to an operator, and it."""
        self.up_to(node)
        self._step()

    def value(self, node: fx.Node, batch: int) -> Any:
        """Return an operator's result for a batch, if it is still to be read."""
        return self._values[batch][node]

    def _step(self) -> None:
        node = self._ahead.pop()
        for x, values in zip(self._given, self._values, strict=True):
            values[node] = self._result(node, x, values)
            for used in self._last.get(node, ()):
                del values[used]

    def _result(self, node: fx.Node, x: Tensor, values: Mapping[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            path = self._owners.get(node.name)
            return x if path is None else None  # weights are looked up when used
        if node.op == "get_attr":
            return node.meta[CONSTANT]
        if node.op == "output":
            return None

        def held(item: fx.Node) -> Any:
            path = self._owners.get(item.name)
            return values[item] if path is None else self._state[path]

        with torch.no_grad():
            args, kwargs = fx.map_arg((node.args, node.kwargs), held)
            return node.target(*args, **kwargs)  # type: ignore[operator]


def trace_batch(model: nn.Module, x: Tensor) -> Trace:
    """A trace that can be run on other batches of the same shape.

    Raises:
        TraceError: the model does not run on it.
    """
    return retrace(model, (x,), {}, by_value=True)


def last_uses(traced: Trace) -> dict[fx.Node, list[fx.Node]]:
    """By operator, the values that nothing after it reads."""
    last: dict[fx.Node, fx.Node] = {}
    for node in traced.nodes:
        for source in node.all_input_nodes:
            last[source] = node
    found: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for source, reader in last.items():
        found[reader].append(source)
    return found


def peak_bytes(traced: Trace) -> int:
    """The most that the values of one batch take at a time, about."""
    last, held, peak = last_uses(traced), 0, 0
    for node in traced.nodes:
        held += _bytes(traced, node)
        peak = max(peak, held)
        held -= sum(_bytes(traced, item) for item in last.get(node, ()))
    return peak


def _bytes(traced: Trace, node: fx.Node) -> int:
    weighs = node.name not in traced.owners
    return torch.Size(result_shape(node)).numel() * BYTES if weighs else 0
