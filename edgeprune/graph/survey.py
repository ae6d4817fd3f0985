"""Which groups can really shrink: every one is tried on the user's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.groups import ChannelGraph, Group, refuse_groups
from edgeprune.graph.model_copy import check_copy
from edgeprune.graph.operators import operator_of
from edgeprune.graph.rules import operator_name
from edgeprune.graph.rules.pointwise import elementwise
from edgeprune.graph.sizes import holding
from edgeprune.graph.surgery import apply, cuts_of, numbers_of, plan_surgery
from edgeprune.graph.torch_private import tree_map_only
from edgeprune.graph.trace import Inputs, Trace, retrace, source_line, state_of
from edgeprune.graph.verify import verify
from edgeprune.records import Plan


def survey(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """Groups that can really shrink.

    A size written into `forward` does not show in labels. About half of each group is
    taken away and the model traced again without copying a weight; groups that break
    are found by bisection and frozen, with the line that broke as the reason. Groups
    whose number is reckoned with are marked.

    Raises:
        TraceError: the model cannot be traced.

    Example:
        >>> import edgeprune, torch
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
        ... )
        >>> graph = edgeprune.survey(model, (torch.randn(1, 3, 16, 16),))
        >>> [(group.name, group.size) for group in graph.groups]
        [('0', 8)]
        >>> [(item.name, item.reason) for item in graph.refusals]
        [('1', 'output of the network')]
    """
    graph = build_channel_graph(model, inputs)
    check_copy(model, inputs, graph.traced)
    stuck = _held_elsewhere(model, graph)
    held = tuple(name for name in graph.identities if name not in stuck)
    graph = replace(graph, identities=held)
    graph = _refuse(graph, _culprits(partial(_tried, model, graph), graph.groups))
    trained_on = _training_inputs(model, graph)
    if trained_on is not None:
        train = partial(_trained, model, graph, trained_on)
        graph = _refuse(graph, _culprits(train, graph.groups))
    exact = [group for group in graph.groups if not group.approximate]
    counted = _counted(model, graph, exact)
    groups = tuple(
        replace(group, approximate=group.approximate or counted.get(group.name, ""))
        for group in graph.groups
    )
    return replace(graph, groups=groups)


def _held_elsewhere(model: nn.Module, graph: ChannelGraph) -> set[str]:
    """Blocks that still run when they were taken out, as if from a plain list.

    All are left out at once, inner ones after those around them, and where that fails,
    halves of them, until it is known which ones.
    """
    found: set[str] = set()
    names = list(graph.blocks)
    while names:
        outer = [
            name
            for name in names
            if not any(name.startswith(f"{other}.") for other in names)
        ]
        found |= _stuck(model, graph, outer)
        names = [name for name in names if name not in outer]
    return found


def _stuck(model: nn.Module, graph: ChannelGraph, names: Sequence[str]) -> set[str]:
    if not names:
        return set()
    try:
        apply(model, graph, Plan({}, bypassed=tuple(names)))
    except (PlanError, TraceError):
        if len(names) == 1:
            return set(names)
        middle = len(names) // 2
        first = _stuck(model, graph, names[:middle])
        return first | _stuck(model, graph, names[middle:])
    return set()


def _trial(groups: Sequence[Group]) -> Plan:
    """About half of each group, and not the same share of all.

    Equal shares would hide that the code wants two groups to be equally wide.
    """
    kept: dict[str, tuple[int, ...]] = {}
    for index, group in enumerate(groups):
        width = max(1, group.size // 2 - index % 5 * max(1, group.size // 16))
        kept[group.name] = tuple(range(group.size - width, group.size))
    return Plan(kept)


def _refuse(graph: ChannelGraph, reasons: Mapping[str, str]) -> ChannelGraph:
    return refuse_groups(graph, reasons) if reasons else graph


def _culprits(
    run: Callable[[Sequence[Group]], object], groups: Sequence[Group]
) -> dict[str, str]:
    """Names of groups that break a run of the model when they shrink, with the reason.

    Args:
        run: a run of the model with about half of some groups.
    """
    if not groups:
        return {}
    try:
        run(groups)
    except (PlanError, TraceError) as error:
        if len(groups) == 1:
            return {groups[0].name: str(error)}
        middle = len(groups) // 2
        halves = groups[:middle], groups[middle:]
        found: dict[str, str] = {}
        for half in halves:
            found |= _culprits(run, half)
        return found or {group.name: str(error) for group in groups}
    return {}


def _tried(model: nn.Module, graph: ChannelGraph, groups: Sequence[Group]) -> Trace:
    """The trace of the model with about half of some groups.

    Raises:
        PlanError: it reads other channels.
        TraceError: it does not run.
    """
    surgery = plan_surgery(model, graph, _trial(groups))
    cuts = cuts_of(surgery)
    with holding(model, numbers_of(surgery)):
        by_value = graph.traced.by_value
        traced = retrace(model, graph.inputs, cuts, by_value=by_value)
    verify(traced, graph, cuts)
    return traced


def _training_inputs(model: nn.Module, graph: ChannelGraph) -> Inputs | None:
    """Inputs on which the model runs in training mode, if it has parts for that alone.

    Heads that are left out in evaluation read channels, too. Batch norm may want more
    than one sample. None where the model wants something else in training, as targets.
    """
    traced, read = graph.traced, graph.traced.read
    if traced.by_value or all(
        state.numel() < 2 for path, state in state_of(model).items() if path not in read
    ):
        return None
    twice = tree_map_only(
        Tensor, lambda x: torch.cat([x, x]) if x.ndim else x, graph.inputs
    )
    for inputs in (graph.inputs, twice):
        with suppress(TraceError):
            retrace(model, inputs, {}, by_value=False, training=True)
            return inputs
    return None


def _trained(
    model: nn.Module, graph: ChannelGraph, inputs: Inputs, groups: Sequence[Group]
) -> None:
    """Run the model with about half of some groups in training mode.

    Raises:
        PlanError: the plan does not fit.
        TraceError: it does not run.
    """
    surgery = plan_surgery(model, graph, _trial(groups))
    with holding(model, numbers_of(surgery)):
        retrace(model, inputs, cuts_of(surgery), by_value=False, training=True)


def _counted(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[Group]
) -> dict[str, str]:
    """Groups whose number the code reckons with, as in `x / x.shape[1] ** 0.5`."""
    if not groups or graph.traced.by_value:
        return {}
    try:
        line = _changed(graph.traced, _tried(model, graph, groups))
    except (PlanError, TraceError):
        line = None  # only together with others: `apply` will say so
    if line is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: f"their number is reckoned with at {line}"}
    middle = len(groups) // 2
    return {
        **_counted(model, graph, groups[:middle]),
        **_counted(model, graph, groups[middle:]),
    }


def _changed(before: Trace, after: Trace) -> str | None:
    """The first line whose numbers, other than sizes, are not what they were."""
    pairs = zip(_numbers(before), _numbers(after), strict=False)
    return next((line for (line, old), (_, new) in pairs if old != new), None)


def _numbers(traced: Trace) -> list[tuple[str, str]]:
    """Numbers that values are reckoned with, in order, with their lines."""
    found = list(traced.constants)
    for node in traced.nodes:
        if node.op != "call_function" or operator_of(node).rule is not elementwise:
            continue
        numbers = [item for item in node.args if isinstance(item, int | float)]
        if numbers:
            found.append((source_line(node), f"{operator_name(node)} {numbers}"))
    return found
