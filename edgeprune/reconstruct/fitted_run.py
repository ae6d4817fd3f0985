"""A fitted network's run, taken up again by a like network where they begin to differ.

Networks that are judged one after another differ in a group or a block. All layers in
front of that are fitted to the same, and what they make is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from edgeprune.graph.stepwise import (
    Snapshot,
    operators_of,
    shared_operators,
)
from edgeprune.graph.trace import Trace
from edgeprune.reconstruct.layer_fits import LayerPair
from edgeprune.records import Surgery


@dataclass(frozen=True)
class Begun:
    """What a run has from another one.

    Attributes:
        left: the layers that are still to be fitted.
        state: the parameters and buffers of all others, by path.
        snapshots: in front of the first operator that is not the same; it goes on at
            the last of them.
    """

    left: Sequence[LayerPair]
    state: Mapping[str, Tensor] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def snapshot(self) -> Snapshot | None:
        """Where it goes on; None for the beginning."""
        return self.snapshots[-1] if self.snapshots else None


@dataclass(frozen=True)
class FittedRun:
    """The run of a fitted network.

    Attributes:
        state: its parameters and buffers, by path, after it.
        surgery: what was changed in the network that all are made of.
        snapshots: in the order in which it came to them.
        outputs: of the samples that were judged.
    """

    traced: Trace
    state: Mapping[str, Tensor]
    surgery: Surgery
    pairs: Sequence[LayerPair]
    snapshots: list[Snapshot]
    outputs: Tensor

    def begun(
        self,
        traced: Trace,
        surgery: Surgery,
        pairs: Sequence[LayerPair],
        reach: int | None = None,
    ) -> Begun:
        """What a network that was made of the same one has from this run.

        Args:
            reach: layers are fitted as far behind a difference; None for all.
        """
        same = self.surgery.same(surgery)
        done = shared_operators(self.traced, traced, same)
        known, new = _ends(self.traced, self.pairs), _ends(traced, pairs)
        for name, where in reversed(new.items()):
            first, last, _ = where
            if first < done and (known.get(name) != where or last >= done):
                done = first
        left = [pair for pair in pairs if new[pair.after.name][0] >= done]
        if reach is not None:
            near = self._reached(pairs, same, reach)
            left = [pair for pair in left if pair.after.name in near]
        own = {path for pair in left for path in pair.after.tensors}
        return Begun(
            left,
            {
                path: held
                for path, held in self.state.items()
                if same(path) and path not in own
            },
            [item for item in self.snapshots if item.position <= done],
        )

    def _reached(
        self, pairs: Sequence[LayerPair], same: Callable[[str], bool], reach: int
    ) -> set[str]:
        """The layers that are no farther behind one that is not the same."""
        before = dict(_followed(self.pairs))
        found: set[str] = set()
        left = 0
        for name, previous in _followed(pairs):
            if not (same(name) and name in before and before[name] == previous):
                left = reach
            if left > 0:
                found.add(name)
            left -= 1
        return found


def _followed(pairs: Sequence[LayerPair]) -> list[tuple[str, str]]:
    """Each layer, and the one that is fitted before it."""
    names = [pair.after.name for pair in pairs]
    return list(zip(names, ["", *names], strict=False))


def _ends(
    traced: Trace, pairs: Sequence[LayerPair]
) -> dict[str, tuple[int, int, object]]:
    """Where each layer begins and ends, and how it is read."""
    at = {node: position for position, node in enumerate(operators_of(traced))}
    layers = [pair.after for pair in pairs]
    return {
        layer.name: (at[layer.node], at[layer.end], layer.limits) for layer in layers
    }
