"""From a plan to a smaller module, checked before and after.

Only parameters, buffers and the sizes that torch's own layers write down are changed:
the user's code stays as it is and is traced again to see that the plan holds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.groups import (
    Axis,
    ChannelGraph,
    Group,
    analyse,
    label,
    refuse_groups,
)
from edgeprune.graph.labels import LabelArray, Ledger
from edgeprune.graph.layers import CONVOLUTIONS, write_sizes_
from edgeprune.graph.trace import Inputs, evaluating, failing_line, first_line, trace
from edgeprune.records import Plan


def apply(model: nn.Module, graph: ChannelGraph, plan: Plan) -> nn.Module:
    """A smaller module of the same class, without the channels that a plan drops.

    For every input it computes what the original computes with the removed channels'
    slices of its consumers' weights set to zero. The caller's model is untouched.

    Raises:
        PlanError: the plan does not fit the graph, or the pruned network does not
            run, or a size written into `forward` makes it another function.
    """
    validate(graph, plan)
    try:
        pruned = copy.deepcopy(model)
    except Exception as error:
        message = f"{type(model).__name__} cannot be copied: {first_line(error)}."
        raise PlanError(message) from error
    kept = kept_indices(graph, plan)
    _slice_(pruned, kept)
    _write_sizes_(pruned, model, graph)
    _run(model, pruned, graph.inputs)
    _verify(pruned, graph, kept)
    return pruned


def validate(graph: ChannelGraph, plan: Plan) -> None:
    """Refuse a plan that names unknown groups or channels, or empties a group.

    Raises:
        PlanError: with the group and what is wrong with it.
    """
    sizes = {group.name: group.size for group in graph.groups}
    for name, channels in plan.kept.items():
        if name not in sizes:
            refused = [item.reason for item in graph.refusals if item.name == name]
            why = f": {refused[0]}" if refused else ""
            message = f"Plan names {name!r}, which is no prunable group{why}."
            raise PlanError(message)
        if not channels:
            raise PlanError(f"Plan keeps no channel of {name!r}; keep at least one.")
        ordered = sorted(set(channels))
        if list(channels) != ordered or ordered[0] < 0 or ordered[-1] >= sizes[name]:
            message = (
                f"Plan for {name!r} must list rising channel numbers from 0 to "
                f"{sizes[name] - 1} without repeats, found {list(channels)[:8]!r}."
            )
            raise PlanError(message)


def kept_indices(graph: ChannelGraph, plan: Plan) -> dict[Axis, LabelArray]:
    """The indices that stay, for each parameter axis that loses any."""
    masks: dict[Axis, LabelArray] = {}
    for name, channels in plan.kept.items():
        group = graph.group(name)
        gone = np.setdiff1d(np.arange(group.size), channels)
        for member in group.members:
            axis = (member.parameter, member.axis)
            mask = masks.setdefault(axis, np.ones(len(member.channel_of), dtype=bool))
            mask[np.isin(member.channel_of, gone)] = False
    return {
        axis: np.flatnonzero(mask) for axis, mask in masks.items() if not mask.all()
    }


def survey(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """Groups that can really shrink: every one is tried on the user's own code.

    A size written into `forward` does not show in labels. Half of each group is
    removed and the model traced again; groups that break are found by bisection and
    frozen, with the line that broke as the reason.

    Raises:
        TraceError: the model cannot be traced.
    """
    graph = analyse(model, inputs)
    reasons = _culprits(model, graph, list(graph.groups))
    return refuse_groups(graph, reasons) if reasons else graph


def _culprits(
    model: nn.Module, graph: ChannelGraph, groups: Sequence[Group]
) -> dict[str, str]:
    """Names of groups that break the model when halved, with the reason."""
    if not groups:
        return {}
    trial = Plan({group.name: tuple(range(1, group.size, 2)) for group in groups})
    try:
        apply(model, graph, trial)
    except PlanError as error:
        if len(groups) == 1:
            return {groups[0].name: str(error)}
        middle = len(groups) // 2
        halves = groups[:middle], groups[middle:]
        found = {
            **_culprits(model, graph, halves[0]),
            **_culprits(model, graph, halves[1]),
        }
        return found or {group.name: str(error) for group in groups}
    return {}


def _slice_(model: nn.Module, kept: Mapping[Axis, LabelArray]) -> None:
    """Drop indices from parameters and buffers; tied ones stay tied."""
    by_tensor: dict[str, dict[int, LabelArray]] = {}
    for (path, axis), indices in kept.items():
        by_tensor.setdefault(path, {})[axis] = indices
    aliases = _aliases(model)
    for path, cuts in by_tensor.items():
        tensor = aliases[path][0][2]
        smaller = tensor.detach()
        for axis, indices in cuts.items():
            smaller = smaller.index_select(
                axis, torch.from_numpy(indices).to(tensor.device)
            )
        smaller = smaller.clone(memory_format=torch.contiguous_format)
        if isinstance(tensor, nn.Parameter):
            smaller = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
        for module, name, _ in aliases[path]:
            setattr(module, name, smaller)


def _aliases(model: nn.Module) -> dict[str, list[tuple[nn.Module, str, Tensor]]]:
    """Every place (module, attribute) that holds the tensor of each path."""
    places: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}
    paths: dict[str, int] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        own = [
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ]
        for name, tensor in own:
            paths[f"{prefix}.{name}" if prefix else name] = id(tensor)
            held = places.setdefault(id(tensor), [])
            if not any(place[0] is module and place[1] == name for place in held):
                held.append((module, name, tensor))
    return {path: places[key] for path, key in paths.items()}


def _write_sizes_(pruned: nn.Module, model: nn.Module, graph: ChannelGraph) -> None:
    """Bring the sizes that torch's layers write down in line with their weights."""
    originals = dict(model.named_modules())
    for path, layer in pruned.named_modules():
        per_group = None
        if graph.choices.get(f"groups of {path}.weight") == "whole":
            original = originals[path]
            assert isinstance(original, CONVOLUTIONS)
            per_group = original.out_channels // original.groups
        write_sizes_(layer, per_group)


def _run(model: nn.Module, pruned: nn.Module, inputs: Inputs) -> None:
    """One forward pass: the pruned model runs and its outputs have the same shapes."""
    with torch.no_grad(), evaluating(model), evaluating(pruned):
        expected = model(*inputs)
        try:
            found = pruned(*inputs)
        except Exception as error:
            line = failing_line(error)
            place = f" at {line}" if line else ""
            message = f"The pruned model does not run: {first_line(error)}{place}."
            raise PlanError(message) from error
    if _shapes(expected) != _shapes(found):
        message = (
            "The pruned model's output has another shape: expected "
            f"{_shapes(expected)}, found {_shapes(found)}."
        )
        raise PlanError(message)


def _shapes(value: object) -> object:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {key: _shapes(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_shapes(item) for item in value]
    return None


def _verify(
    pruned: nn.Module, graph: ChannelGraph, kept: Mapping[Axis, LabelArray]
) -> None:
    """Trace the pruned model and follow the remaining labels through it.

    Raises:
        PlanError: labels of two channels meet, so the pruned model reads a channel
            where the original read another.
    """
    try:
        traced = trace(pruned, graph.inputs)
    except TraceError as error:
        raise PlanError(f"The pruned model does not trace: {error}") from error
    ledger = Ledger(choices=dict(graph.choices))
    try:
        run = label(traced, ledger)
    except ValueError as error:
        message = f"The pruned model has another structure: {first_line(error)}."
        raise PlanError(message) from error
    channel_of = np.full(ledger.size, MADE)
    for axis, labels in run.axes.items():
        channels = graph.axes[axis]
        channel_of[labels] = channels[kept[axis]] if axis in kept else channels
    _check_frozen(ledger, graph, channel_of)
    _check_edges(ledger, graph, channel_of)


MADE = -1  # a position that the user's code makes, so a channel of no parameter


def _check_frozen(ledger: Ledger, graph: ChannelGraph, channel_of: LabelArray) -> None:
    for labels, frozen in ledger.frozen:
        if not set(channel_of[labels].tolist()) <= graph.frozen | {MADE}:
            message = f"Removing channels would change what is fixed: {frozen.reason}."
            raise PlanError(message)


def _check_edges(ledger: Ledger, graph: ChannelGraph, channel_of: LabelArray) -> None:
    fixed = np.zeros(graph.channels + 1, dtype=bool)  # the last one is MADE
    fixed[[*graph.frozen, MADE]] = True
    for edge in ledger.edges:
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
