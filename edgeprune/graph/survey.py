"""Which groups can really shrink: every one is tried on the user's own code."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.groups import ChannelGraph, Group, analyse, refuse_groups
from edgeprune.graph.sizes import holding
from edgeprune.graph.surgery import cuts_of, numbers_of, plan_surgery
from edgeprune.graph.trace import Inputs, retrace
from edgeprune.graph.verify import verify
from edgeprune.records import Plan


def survey(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """Groups that can really shrink.

    A size written into `forward` does not show in labels. About half of each group is
    taken away and the model traced again without copying a weight; groups that break
    are found by bisection and frozen, with the line that broke as the reason.

    Raises:
        TraceError: the model cannot be traced.
    """
    graph = analyse(model, inputs)
    reasons = _culprits(model, graph, list(graph.groups))
    return refuse_groups(graph, reasons) if reasons else graph


def _trial(groups: Sequence[Group]) -> Plan:
    """About half of each group, and not the same share of all.

    Equal shares would hide that the code wants two groups to be equally wide.
    """
    kept: dict[str, tuple[int, ...]] = {}
    for index, group in enumerate(groups):
        width = max(1, group.size // 2 - index % 5 * max(1, group.size // 16))
        kept[group.name] = tuple(range(group.size - width, group.size))
    return Plan(kept)


def _culprits(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[Group]
) -> dict[str, str]:
    """Names of groups that break the model when they shrink, with the reason."""
    if not groups:
        return {}
    try:
        surgery = plan_surgery(model, graph, _trial(groups))
        cuts = cuts_of(surgery)
        with holding(model, numbers_of(surgery)):
            by_value = graph.traced.by_value
            traced = retrace(model, graph.inputs, cuts, by_value=by_value)
        verify(traced, graph, cuts)
    except (PlanError, TraceError) as error:
        if len(groups) == 1:
            return {groups[0].name: str(error)}
        middle = len(groups) // 2
        halves = groups[:middle], groups[middle:]
        found: dict[str, str] = {}
        for half in halves:
            found |= _culprits(model, graph, half)
        return found or {group.name: str(error) for group in groups}
    return {}
