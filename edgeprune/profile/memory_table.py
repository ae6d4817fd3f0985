"""Which activation follows which width: seen on a few variants of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.indices import kept_indices
from edgeprune.measure.memory import activations
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.records import Activation, MemoryTable, Plan
from edgeprune.records.memory import WidthPlace

FEW = 4  # variants, to see which activation follows which width


def memory_of(
    graph: ChannelGraph, variants: ResizedModels, plans: Sequence[Plan]
) -> MemoryTable:
    """The table of a network, by its files under a few plans.

    Raises:
        MeasurementError: the runtime does not load a file.
    """
    paths = [variants.write(plan, f"probe{at}") for at, plan in enumerate(plans)]
    widths = [widths_under(graph, plan) for plan in (Plan({}), *plans)]
    return memory_table(variants.reference, paths, widths)


def widths_under(graph: ChannelGraph, plan: Plan) -> dict[WidthPlace, int]:
    """The length of every parameter axis under a plan."""
    kept = kept_indices(graph, plan)
    whole = {axis: len(channels) for axis, channels in graph.axes.items()}
    return whole | {axis: len(indices) for axis, indices in kept.items()}


def memory_table(
    reference: Path,
    variants: Sequence[Path],
    widths: Sequence[Mapping[WidthPlace, int]],
) -> MemoryTable:
    """The table of a network.

    Args:
        reference: the file at full widths.
        variants: files at other widths.
        widths: of every parameter axis, in the reference and then in each variant.

    Raises:
        MeasurementError: the runtime does not load a file.
    """
    whole = activations(reference)
    others = [activations(path).shapes for path in variants]
    columns: dict[tuple[int, ...], WidthPlace] = {}
    for place in widths[0]:
        column = tuple(sizes[place] for sizes in widths)
        if len(set(column)) > 1:
            columns.setdefault(column, place)
    names = sorted({name for held in whole.alive for name in held})
    values: list[Activation] = []
    for name in names:
        shape = whole.shapes[name]
        rows = [shape, *(other.get(name, shape) for other in others)]
        place = _place(rows, columns)
        length = widths[0][place] if place else 1
        values.append(Activation(place, whole.sizes[name] / length))
    number = {name: index for index, name in enumerate(names)}
    alive = tuple(tuple(sorted(number[name] for name in held)) for held in whole.alive)
    return MemoryTable(tuple(values), alive)


def _place(
    rows: Sequence[tuple[int, ...]], columns: Mapping[tuple[int, ...], WidthPlace]
) -> WidthPlace | None:
    """The parameter axis whose width one of the sizes is."""
    if len({len(row) for row in rows}) != 1:
        return None
    sizes = zip(*rows, strict=True)
    return next((columns[column] for column in sizes if column in columns), None)
