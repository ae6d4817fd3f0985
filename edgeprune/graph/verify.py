"""Does a pruned network read every channel where the original read it?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeprune.errors import PlanError, first_line
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.labelling import label
from edgeprune.graph.labels import ConstraintStore, LabelArray
from edgeprune.graph.trace import Trace

MADE = -1  # a position that the user's code makes, so a channel of no parameter


def verify(
    traced: Trace, graph: ChannelGraph, kept: Mapping[str, Mapping[int, LabelArray]]
) -> None:
    """Follow the remaining labels through a trace of the pruned model.

    Raises:
        PlanError: labels of two channels meet, so the pruned model reads a channel
            where the original read another.
    """
    constraints = ConstraintStore(choices=dict(graph.choices))
    try:
        run = label(traced, constraints, original=graph.axes)
    except ValueError as error:
        message = f"The pruned model has another structure: {first_line(error)}."
        raise PlanError(message) from error
    channel_of = np.full(constraints.size, MADE)
    for (path, axis), labels in run.axes.items():
        channels = graph.axes[path, axis]
        cuts = kept.get(path, {})
        channel_of[labels] = channels[cuts[axis]] if axis in cuts else channels
    _check_frozen(constraints, graph, channel_of)
    _check_edges(constraints, graph, channel_of)


def _check_frozen(
    constraints: ConstraintStore, graph: ChannelGraph, channel_of: LabelArray
) -> None:
    allowed = graph.frozen | {MADE}
    for labels, frozen in constraints.frozen:
        if not set(channel_of[labels].tolist()) <= allowed:
            message = f"Removing channels would change what is fixed: {frozen.text}."
            raise PlanError(message)


def _check_edges(
    constraints: ConstraintStore, graph: ChannelGraph, channel_of: LabelArray
) -> None:
    fixed = np.zeros(graph.channels + 1, dtype=bool)  # the last one is MADE
    fixed[[*graph.frozen, MADE]] = True
    for edge in constraints.edges:
        first, second = channel_of[edge[0]], channel_of[edge[1]]
        made = (first == MADE) | (second == MADE)
        fine = (first == second) | (made & fixed[first] & fixed[second])
        if not fine.all():
            at = int(np.flatnonzero(~fine)[0])
            message = (
                "The pruned model would read one channel where the original read "
                f"another ({_home(graph, int(first[at]))} meets "
                f"{_home(graph, int(second[at]))})."
            )
            raise PlanError(message)


def _home(graph: ChannelGraph, channel: int) -> str:
    """A parameter that a channel lives on, for messages."""
    for (path, _), channels in graph.axes.items():
        if (channels == channel).any():
            return path
    return "a fixed position"
