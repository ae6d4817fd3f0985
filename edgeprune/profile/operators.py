"""The operators of a network as the runtime ran them in several probes.

Two operators of the same signature take the same time at the same widths, wherever
they stand: what was seen of one says as much of the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeprune.devices.runner import Probe
from edgeprune.measure.onnx_file import NodeFacts, layer_of_node
from edgeprune.records.latency import Floats, WidthPlace

Key = tuple[str, str, int]  # the layer, the kind of operator, the how manyth of it


@dataclass(frozen=True)
class Variant:
    """The network at other widths.

    Attributes:
        widths: length of every parameter axis.
        weight_bytes: of all parameters.
    """

    widths: Mapping[WidthPlace, int]
    weight_bytes: int


@dataclass(frozen=True)
class Sample(Variant):
    """One probe."""

    probe: Probe


@dataclass(frozen=True)
class Signature:
    """What the time of an operator depends on beside its widths.

    Attributes:
        operator: its kind, such as Conv.
        layer: the shape of its kernel, its strides and the like; empty without weights.
        positions: at how many it reads and makes channels.
        follows: whether the width that it reads, and the one that it makes, change.
    """

    operator: str
    layer: str
    positions: tuple[int, int]
    follows: tuple[bool, bool]


@dataclass
class Seen:
    """The measurements of one operator; a row for each probe.

    Attributes:
        time: in shares of the reference network's; 0 where it did not run.
        read, made: shapes of its first input and output; empty where it did not run.
    """

    time: Floats
    read: list[tuple[int, ...]] = field(default_factory=list)
    made: list[tuple[int, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Operator:
    """One operator of the network.

    Attributes:
        read, made: the parameter axes whose widths give its input and output channels;
            None where they are always the same.
    """

    key: Key
    seen: Seen
    signature: Signature
    read: WidthPlace | None
    made: WidthPlace | None


def operators_of(
    samples: Sequence[Sample],
    layers: Mapping[str, str],
    facts: Mapping[str, NodeFacts],
    block: int,
) -> list[Operator]:
    """The operators of all probes, with the widths that they follow.

    Args:
        layers: from a value in the ONNX file to the weight whose layer made it.
        facts: of the layers' nodes, by weight.
        block: channels that the runtime computes together.
    """
    columns = _columns(samples)
    return [
        _operator(key, seen, columns, facts, block)
        for key, seen in seen_of(samples, layers).items()
    ]


def widths_at(
    samples: Sequence[Variant], place: WidthPlace | None, block: int
) -> Floats:
    """The width at a place over the probes; one block where it is always the same."""
    return np.array([float(item.widths[place] if place else block) for item in samples])


def seen_of(samples: Sequence[Sample], layers: Mapping[str, str]) -> dict[Key, Seen]:
    """Times and shapes by operator; one that a probe lacks took no time there."""
    count = len(samples)
    seen: dict[Key, Seen] = {}
    for row, sample in enumerate(samples):
        counted: defaultdict[tuple[str, str], int] = defaultdict(int)
        layer = ""
        for node in sample.probe.nodes:
            layer = layer_of_node(node.name, layers, layer)
            key = (layer, node.operator, counted[layer, node.operator])
            counted[layer, node.operator] += 1
            empty = Seen(np.zeros(count), [()] * count, [()] * count)
            rows = seen.setdefault(key, empty)
            rows.time[row] = node.latency_ms
            rows.read[row], rows.made[row] = node.read, node.made
    return seen


def _operator(
    key: Key,
    seen: Seen,
    columns: Mapping[WidthPlace, Floats],
    facts: Mapping[str, NodeFacts],
    block: int,
) -> Operator:
    layer, kind, _ = key
    read, made = (
        _followed(shapes, columns, layer, block) for shapes in (seen.read, seen.made)
    )
    own = facts.get(layer)
    signature = Signature(
        kind,
        repr(own) if own is not None and kind.endswith(own.operator) else "",
        (_positions(seen.read, read), _positions(seen.made, made)),
        (read is not None, made is not None),
    )
    return Operator(key, seen, signature, read and read[0], made and made[0])


def _positions(
    shapes: Sequence[tuple[int, ...]], found: tuple[WidthPlace, int] | None
) -> int:
    """Values for each channel; all values where no channels change."""
    shape = list(next((shape for shape in shapes if shape), ()))
    if found is not None:
        del shape[found[1]]
    return math.prod(shape)


def _columns(samples: Sequence[Sample]) -> dict[WidthPlace, Floats]:
    """The width of each parameter axis over the probes, where it is not constant."""
    found = {place: widths_at(samples, place, 0) for place in samples[0].widths}
    return {place: column for place, column in found.items() if np.ptp(column)}


def _followed(
    shapes: Sequence[tuple[int, ...]],
    columns: Mapping[WidthPlace, Floats],
    layer: str,
    block: int,
) -> tuple[WidthPlace, int] | None:
    """The parameter axis whose width a shape follows, one of its own layer first.

    Returns:
        It, and the axis of the shape that follows it.
    """
    rows = [index for index, shape in enumerate(shapes) if shape]
    if len({len(shapes[row]) for row in rows}) != 1:
        return None
    sizes = np.array([shapes[row] for row in rows], dtype=float)
    own = [place for place in columns if place[0] == layer]
    for axis in np.flatnonzero(np.ptp(sizes, axis=0)).tolist():
        size = sizes[:, axis]
        for places in (own, columns):
            fitting = [
                place for place in places if _follows(size, columns[place][rows], block)
            ]
            if fitting:
                best = max(
                    fitting, key=lambda place: (size == columns[place][rows]).sum()
                )
                return best, axis
    return None


def _follows(size: Floats, width: Floats, block: int) -> bool:
    """Whether a size is a width in whole blocks, or a multiple of it (flattened)."""
    equal = np.ceil(size / block) == np.ceil(width / block)
    return bool(equal.all() or np.ptp(size / width) == 0)
