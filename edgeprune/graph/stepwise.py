"""A network run operator by operator, many batches side by side.

Whoever looks at a value of all samples, as least squares do, stops the run there,
changes the weights of what comes next and goes on: nothing is computed twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.graph.operations import thinned
from edgeprune.graph.recorder import CONSTANT
from edgeprune.graph.rules import result_shape
from edgeprune.graph.torch_private import tree_leaves, tree_map_only
from edgeprune.graph.trace import Trace, retrace

BYTES = 4  # of a number
SNAPSHOTS = 24  # of a run, at most
KEPT = 768 * 1024**2  # bytes that the values in all of them take, about


@dataclass(frozen=True)
class Snapshot:
    """What a run holds before one of its operators.

    Attributes:
        position: of that operator, see `operators_of`.
        values: of every batch, by the position of the operator that made them.
    """

    position: int
    values: list[dict[int, Any]]


class StepwiseInterpreter:
    """A run in evaluation mode that can stop at every operator.

    Args:
        traced: of real batches as large as these, by `trace_batch`.
        state: the parameters and buffers, by path; read when an operator runs.
        batches: inputs, each of the shape that was traced.
        start: from here, which another run on these batches, and perhaps more after
            them, has come to; see `shared_operators`.
    """

    def __init__(
        self,
        traced: Trace,
        state: Mapping[str, Tensor],
        batches: Sequence[Tensor],
        start: Snapshot | None = None,
    ) -> None:
        order = operators_of(traced)
        self._positions = {node: position for position, node in enumerate(order)}
        self._ahead = order[start.position if start else 0 :][::-1]
        self._owners, self._state = traced.owners, state
        self._given = list(batches)
        held = start.values[: len(batches)] if start else [{} for _ in batches]
        self._values: list[dict[fx.Node, Any]] = [
            {order[position]: value for position, value in values.items()}
            for values in held
        ]
        self._last = last_uses(traced)
        self._lent = {*_storages([self._given, held])}

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

    def outputs(self) -> list[Tensor]:
        """Run to the end; what the network returns first, by batch, thinned."""
        self.through(self._ahead[0])
        last = next(reversed(self._positions))
        return [thinned(values[last][0]) for values in self._values]

    def snapshot(self) -> Snapshot:
        """What is held now; nothing is copied."""
        position = self._positions[self._ahead[-1]]
        held = [
            {self._positions[node]: value for node, value in values.items()}
            for values in self._values
        ]
        self._lent |= {*_storages(held)}
        return Snapshot(position, held)

    def _step(self) -> None:
        node = self._ahead.pop()
        lent = writes(node)
        for x, values in zip(self._given, self._values, strict=True):
            if lent:
                self._copy_lent(node, values)
            values[node] = self._result(node, x, values)
            for used in self._last.get(node, ()):
                values.pop(used, None)  # weights are not held

    def _copy_lent(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        """Let what is written to be this run's own, with all that is a view of it."""
        read = [values[item] for item in node.all_input_nodes if item in values]
        held = _storages(read)
        for at in held.keys() & self._lent:
            move = partial(_moved, start=held[at], to=held[at].clone())
            for item, value in values.items():
                values[item] = tree_map_only(Tensor, move, value)

    def _result(self, node: fx.Node, x: Tensor, values: Mapping[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            return x
        if node.op == "get_attr":
            return node.meta[CONSTANT]

        def held(item: fx.Node) -> Any:
            path = self._owners.get(item.name)
            return values[item] if path is None else self._state[path]

        with torch.no_grad():
            args, kwargs = fx.map_arg((node.args, node.kwargs), held)
            if node.op == "output":
                return args[0]
            return node.target(*args, **kwargs)  # type: ignore[operator]


def writes(node: fx.Node) -> bool:
    """Whether an operator changes what it is given."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    """The memory that tensors in nested values lie in, by address."""
    found: dict[int, torch.UntypedStorage] = {}
    for item in tree_leaves(values):
        if isinstance(item, Tensor):
            storage = item.untyped_storage()
            found[storage.data_ptr()] = storage
    return found


def _moved(
    value: Tensor, start: torch.UntypedStorage, to: torch.UntypedStorage
) -> Tensor:
    """The same view of a copy, where it is one of what was copied."""
    if value.untyped_storage().data_ptr() != start.data_ptr():
        return value
    place = value.storage_offset(), value.size(), value.stride()
    return torch.empty(0, dtype=value.dtype).set_(to, *place)


def trace_batch(model: nn.Module, x: Tensor) -> Trace:
    """A trace that can be run on other batches of the same shape.

    Raises:
        TraceError: the model does not run on it.
    """
    return retrace(model, (x,), {}, by_value=True)


def operators_of(traced: Trace) -> list[fx.Node]:
    """What a run does one after another; parameters and buffers are given to it."""
    return [node for node in traced.nodes if node.name not in traced.owners]


def shared_operators(first: Trace, second: Trace, same: Callable[[str], bool]) -> int:
    """How many operators two runs on the same input begin with that do the same.

    Args:
        same: whether both have the same parameter or buffer at a path.
    """
    places: dict[fx.Node, int] = {}
    count = 0
    for pair in zip(operators_of(first), operators_of(second), strict=False):
        one, other = (
            _deed(node, places, traced.owners)
            for node, traced in zip(pair, (first, second), strict=True)
        )
        if one != other or not all(
            same(path) for path in _weights(pair[0], first.owners)
        ):
            break
        places |= dict.fromkeys(pair, count)
        count += 1
    return count


def _deed(
    node: fx.Node, places: Mapping[fx.Node, int], owners: Mapping[str, str]
) -> tuple[Any, ...]:
    """What an operator does with what: equal for two that compute the same."""
    if node.op == "placeholder":
        return (node.op,)
    if node.op == "get_attr":
        constant = node.meta[CONSTANT]
        return node.op, constant.dtype, tuple(constant.shape), constant.tolist()

    def named(item: fx.Node) -> Any:
        return owners.get(item.name) or places.get(item, item)

    arguments = fx.map_arg((node.args, node.kwargs), named)
    return node.op, node.target, arguments


def _weights(node: fx.Node, owners: Mapping[str, str]) -> list[str]:
    return [owners[item.name] for item in node.all_input_nodes if item.name in owners]


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
    return max(held + _bytes(node) for node, held in held_bytes(traced).items())


def held_bytes(traced: Trace) -> dict[fx.Node, int]:
    """By operator, what the values of one batch take before it runs, about."""
    last, held = last_uses(traced), 0
    found: dict[fx.Node, int] = {}
    for node in operators_of(traced):
        found[node] = held
        used = [item for item in last.get(node, ()) if item.name not in traced.owners]
        held += _bytes(node) - sum(map(_bytes, used))
    return found


def stops(traced: Trace, nodes: Sequence[fx.Node], batches: int) -> set[fx.Node]:
    """Those of some operators at which a run is worth a snapshot.

    As far apart as memory asks for.
    """
    held = held_bytes(traced)
    for count in range(min(SNAPSHOTS, len(nodes)), 0, -1):
        chosen = {nodes[len(nodes) * index // count] for index in range(count)}
        if batches * sum(held[node] for node in chosen) <= KEPT:
            return chosen
    return set()


def _bytes(node: fx.Node) -> int:
    return torch.Size(result_shape(node)).numel() * BYTES
