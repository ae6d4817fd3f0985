"""The trace of a pruned network, derived from the original's: no code of the user runs.

Where hundreds of networks are judged, tracing each would take longer than judging it.
The code is taken to do with fewer channels what it did with all: surgery's own check,
of the network that is chosen, says whether it does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx

from edgeprune.graph.labelling import Labelling, label, skipped
from edgeprune.graph.labels import ConstraintStore, Labels
from edgeprune.graph.provenance import SIZES, whole_numbers
from edgeprune.graph.sizes import AttributeSize, Origin, Path, Size
from edgeprune.graph.stepwise import writes
from edgeprune.graph.surgery import numbers_of
from edgeprune.graph.trace import Trace
from edgeprune.records import Surgery
from edgeprune.records.surgery import inside

KEPT = 16  # traces, those that were asked for last


@dataclass(frozen=True)
class DerivedTraces:
    """Traces of networks that are cut from one.

    Args:
        traced: of that one.
    """

    traced: Trace
    _labels: Labelling = field(init=False)
    _known: dict[object, Trace | None] = field(
        default_factory=dict[object, "Trace | None"], init=False
    )

    def __post_init__(self) -> None:
        """Run it over labels, which say along which axes channels lie."""
        labels = label(self.traced, ConstraintStore())
        object.__setattr__(self, "_labels", labels)

    def trace(self, surgery: Surgery) -> Trace | None:
        """The trace of what surgery leaves; None where the code has to run for it.

        That is where layers were factored, channels copied, or the code reckons with
        numbers of channels. Shapes in it are the original's.
        """
        copied = any(
            len(set(item.indices)) < len(item.indices) for item in surgery.kept
        )
        if surgery.factored or copied:
            return None
        key = surgery.bypassed, surgery.numbers
        if key not in self._known:
            while len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = self._derived(surgery)
        return self._known[key]

    def _derived(self, surgery: Surgery) -> Trace | None:
        traced, bypassed = self.traced, surgery.bypassed
        changed = numbers_of(surgery)
        passed, gone = skipped(traced, bypassed)
        graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
        for node in traced.nodes:
            if node in passed:
                new[node] = new[passed[node]]
            elif node not in gone and not self._is_of_any(node, bypassed):
                if writes(node) and passed.keys() & node.all_input_nodes:
                    return None  # surgery lets no activation work in place
                given = self._numbers(node, changed)
                if given is None:
                    return None
                made = new[node] = graph.node_copy(node, lambda item: new[item])
                made.args, made.kwargs = _replaced((made.args, made.kwargs), given)
        owners = {
            new[node].name: path
            for node in traced.nodes
            if node in new and (path := traced.owners.get(node.name))
        }
        return replace(traced, graph=graph, owners=owners, visits={})

    def _is_of_any(self, node: fx.Node, modules: Collection[str]) -> bool:
        """Whether it is a weight of one of some modules."""
        path = self.traced.owners.get(node.name)
        return path is not None and inside(path, modules)

    def _numbers(self, node: fx.Node, changed: Mapping[Path, int]) -> list[int] | None:
        """The whole numbers that it is given now; None if that cannot be told."""
        given: Mapping[int, int] = node.meta.get(SIZES, {})
        found: list[int] = []
        for place, number in enumerate(whole_numbers((node.args, node.kwargs))):
            size = given.get(place)
            if size is None and number in self._lengths(node):
                return None
            if isinstance(size, Size) and self._changes(size, changed):
                if not isinstance(size.origin, AttributeSize):
                    return None
                number = changed[size.origin.path]
            found.append(number)
        return found

    def _lengths(self, node: fx.Node) -> set[int]:
        """Those of the axes with channels in what an operator reads and makes."""
        values = map(self._labels.values.get, [node, *node.all_input_nodes])
        known = [value for value in values if isinstance(value, Labels)]
        return {
            value.shape[axis]
            for value in known
            for factor in value.factors
            for axis in factor.axes
        }

    def _changes(self, size: Size, changed: Mapping[Path, int]) -> bool:
        return any(self._differs(origin, changed) for origin in size.sources)

    def _differs(self, origin: Origin, changed: Mapping[Path, int]) -> bool:
        if isinstance(origin, AttributeSize):
            return origin.path in changed
        value = self._labels.values.get(origin.node)
        return not isinstance(value, Labels) or bool(value.along(origin.axis))


def _replaced(arguments: Any, numbers: list[int]) -> Any:
    """Nested arguments with other whole numbers, in the order of `whole_numbers`."""
    left = iter(numbers)

    def replaced(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return next(left)
        if isinstance(value, slice):
            return slice(*map(replaced, (value.start, value.stop, value.step)))
        if isinstance(value, Mapping):
            return {name: replaced(item) for name, item in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(map(replaced, value))
        return value

    return replaced(arguments)
