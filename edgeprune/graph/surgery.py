"""From a plan to a smaller module, checked before and after.

Only parameters, buffers, the numbers that modules hold and modules that become an
identity are changed: the user's code stays as it is and is traced again to see that
the plan holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError, first_line
from edgeprune.graph.channel_graph import replace_with_identity
from edgeprune.graph.factored import CORE, FIRST, LAST, structure_of
from edgeprune.graph.forward import untouched
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.indices import copies_of, kept_indices, validate
from edgeprune.graph.labels import Axis, LabelArray
from edgeprune.graph.layers import layer_numbers, replace_
from edgeprune.graph.model_copy import copied
from edgeprune.graph.sizes import Path, write_numbers_
from edgeprune.graph.trace import pruned_failure, retrace, sliced, state_of, tensors_in
from edgeprune.graph.verify import verify
from edgeprune.records import HeldNumber, KeptIndices, Plan, Surgery
from edgeprune.records.surgery import inside


def apply(model: nn.Module, graph: ChannelGraph, plan: Plan) -> nn.Module:
    """A smaller module of the same class, without what a plan drops.

    For every input it computes what the original computes with the plan's modules
    left out and the removed channels' slices of their consumers' weights set to zero;
    of channels in an approximate group only nearly so. Copies of channels change
    nothing: what reads them shares its weights out among them, unevenly, so that they
    learn different things. The caller's model is untouched.

    Raises:
        PlanError: the plan does not fit the graph, or the pruned network does not
            run, or a size written into `forward` makes it another function.

    Example:
        >>> import edgeprune, torch
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)
        ... )
        >>> graph = edgeprune.survey(model, (torch.randn(1, 3, 16, 16),))
        >>> smaller = edgeprune.apply(model, graph, edgeprune.Plan({"0": (0, 2, 5)}))
        >>> tuple(smaller[0].weight.shape), tuple(smaller[1].weight.shape)
        ((3, 3, 3, 3), (4, 3, 3, 3))
    """
    surgery, left = plan_surgery(model, graph, plan), _without(graph, plan.bypassed)
    pruned = _made(model, graph, plan, surgery)
    _run(model, pruned, graph)
    by_value = graph.traced.by_value
    try:
        traced = retrace(pruned, graph.inputs, {}, by_value=by_value)
    except TraceError as error:
        raise PlanError(str(error)) from error
    verify(traced, left, cuts_of(surgery))
    return pruned


def cut_by(model: nn.Module, graph: ChannelGraph, plan: Plan) -> nn.Module:
    """Apply a plan without a look at what comes of it, for a first judgement.

    Raises:
        PlanError: the plan does not fit the graph.
    """
    return _made(model, graph, plan, plan_surgery(model, graph, plan))


def _made(
    model: nn.Module, graph: ChannelGraph, plan: Plan, surgery: Surgery
) -> nn.Module:
    pruned = copied(model, graph.traced.before)
    apply_surgery_(pruned, surgery)
    if plan.copies:
        split_fan_out_(pruned, _without(graph, plan.bypassed), cuts_of(surgery))
    return pruned


def plan_surgery(model: nn.Module, graph: ChannelGraph, plan: Plan) -> Surgery:
    """Work out what a plan changes in a module.

    Raises:
        PlanError: the plan does not fit the graph.
    """
    left = _without(graph, plan.bypassed)
    validate(left, plan)
    kept = kept_indices(left, plan)
    numbers = _followed(model, left, plan)
    numbers |= _layer_numbers(model, kept, numbers)
    return Surgery(
        tuple(
            KeptIndices(path, axis, tuple(indices.tolist()))
            for (path, axis), indices in kept.items()
        ),
        tuple(HeldNumber(*path, value) for path, value in numbers.items()),
        plan.bypassed,
    )


def apply_surgery_(model: nn.Module, surgery: Surgery) -> None:
    """Change a module in place; tied parameters stay tied.

    Raises:
        PlanError: it was planned for another module.
    """
    try:
        replace_with_identity_(model, surgery.bypassed)
        within, before = _split(surgery)
        _cut_(model, before)
        for layer in surgery.factored:
            replace_(model, layer, structure_of(model.get_submodule(layer)))
        _cut_(model, within)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        message = (
            f"The plan was made for another network than this {type(model).__name__}: "
            f"{first_line(error)}."
        )
        raise PlanError(message) from error


def _split(surgery: Surgery) -> tuple[Surgery, Surgery]:
    """Split a surgery: cuts inside of factored layers, and all other cuts."""
    parts = [
        f"{layer}.{part}" for layer in surgery.factored for part in (FIRST, CORE, LAST)
    ]
    kept = [item for item in surgery.kept if inside(item.parameter, parts)]
    numbers = [item for item in surgery.numbers if inside(item.module, parts)]
    return (
        Surgery(tuple(kept), tuple(numbers)),
        Surgery(
            tuple(item for item in surgery.kept if item not in kept),
            tuple(item for item in surgery.numbers if item not in numbers),
        ),
    )


def _cut_(model: nn.Module, surgery: Surgery) -> None:
    """Cut parameters to size; write down the numbers that follow."""
    aliases = _aliases(model)
    for path, cuts in cuts_of(surgery).items():
        tensor = aliases[path][0][2]
        if any(not len(indices) for indices in cuts.values()):
            raise ValueError(f"nothing is left of {path!r}")
        smaller = sliced(tensor.detach(), cuts)
        if isinstance(tensor, nn.Parameter):
            smaller = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
        for module, name, _ in aliases[path]:
            setattr(module, name, smaller)
    numbers = numbers_of(surgery)
    if any(value < 1 for value in numbers.values()):
        raise ValueError("a number of channels is below 1")
    write_numbers_(model, numbers)


def cut_state(model: nn.Module, surgery: Surgery) -> dict[str, Tensor]:
    """What surgery leaves of a model's parameters and buffers, by path."""
    cuts = cuts_of(surgery)
    return {
        path: sliced(tensor, cuts.get(path, {}))
        for path, tensor in state_of(model).items()
        if not inside(path, surgery.bypassed)
    }


def cuts_of(surgery: Surgery) -> dict[str, dict[int, LabelArray]]:
    """The indices that stay, by parameter and axis."""
    cuts: dict[str, dict[int, LabelArray]] = {}
    for item in surgery.kept:
        cuts.setdefault(item.parameter, {})[item.axis] = np.array(item.indices)
    return cuts


def numbers_of(surgery: Surgery) -> dict[Path, int]:
    """Return the sizes that modules hold after a surgery, by place."""
    return {
        (item.module, item.attribute, item.position): item.value
        for item in surgery.numbers
    }


def replace_with_identity_(model: nn.Module, modules: Collection[str]) -> None:
    """Put an identity in the place of modules, wherever they are used.

    Activations no longer work in place then: behind an identity one may be given what
    another one needs unchanged for its gradient.
    """
    for path in sorted(modules, key=len, reverse=True):  # inner ones first
        replace_(model, path, nn.Identity())
    for module in model.modules() if modules else ():
        if getattr(module, "inplace", False) is True:
            setattr(module, "inplace", False)  # noqa: B010  of no class that all share


def split_fan_out_(
    model: nn.Module, graph: ChannelGraph, cuts: Mapping[str, Mapping[int, LabelArray]]
) -> None:
    """Split the weights that read a copied channel, so that their sum is what it was.

    Chen et al., "Net2Net", 2016, section 3.1, with uneven shares in place of noise.

    Args:
        model: cut already, so that copies read as much as what they are copies of.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = state_of(model)
    reads = {
        (member.parameter, member.axis)
        for group in graph.groups
        for member in group.members
        if member.role == "input"
    }
    for path, axes in cuts.items():
        for axis, indices in axes.items():
            if (path, axis) not in reads or len(np.unique(indices)) == len(indices):
                continue
            weight = tensors[path].detach()
            order = torch.as_tensor(indices)
            shares = 0.5 + torch.rand(
                weight.shape, generator=generator, dtype=torch.float64
            )
            shape = list(weight.shape)
            shape[axis] = int(indices.max()) + 1
            whole = torch.zeros(shape, dtype=torch.float64)
            whole.index_add_(axis, order, shares)
            weight.copy_(weight * shares / whole.index_select(axis, order))


def _without(graph: ChannelGraph, modules: tuple[str, ...]) -> ChannelGraph:
    """The graph that is left by the modules that a plan bypasses.

    Raises:
        PlanError: one of them is no block of this network.
    """
    if modules == graph.bypassed:
        return graph
    for module in modules:
        if module not in graph.identities:
            raise PlanError(
                f"Plan bypasses {module!r}, which is no module of this network that "
                "takes one tensor and returns one of the same shape."
            )
    return replace_with_identity(graph, modules)


def _followed(model: nn.Module, graph: ChannelGraph, plan: Plan) -> dict[Path, int]:
    """The numbers that count channels, after the plan.

    Raises:
        PlanError: one number counts axes that the plan makes unequal.
    """
    times = np.ones(graph.channels, dtype=np.int64)
    for name, copies in copies_of(graph, plan).items():
        for member in graph.group(name).members:
            here = member.channel_of >= 0
            classes = graph.axes[member.parameter, member.axis][here]
            times[classes] = copies[member.channel_of[here]]
    modules = dict(model.named_modules())
    numbers: dict[Path, int] = {}
    for path, rows in graph.follows:
        if path[0] not in modules:
            continue  # inside a module that is left out
        count = int(times[rows].max(axis=1).sum())
        if numbers.setdefault(path, count) != count:
            holder = ".".join(part for part in path[:2] if part)
            raise PlanError(
                f"{holder} is the number of two kinds of channels, of which the plan "
                f"makes {numbers[path]} and {count}."
            )
    return numbers


def _layer_numbers(
    model: nn.Module, kept: Mapping[Axis, LabelArray], numbers: Mapping[Path, int]
) -> dict[Path, int]:
    """Return the new sizes that torch's layers with a smaller weight hold."""
    state = state_of(model)
    changed = {path for path, _ in kept}
    found: dict[Path, int] = {}
    for path, layer in model.named_modules():
        for name in ("weight", "running_mean"):
            key = f"{path}.{name}" if path else name
            if key not in changed:
                continue
            shape = tuple(
                len(kept.get((key, axis), range(size)))
                for axis, size in enumerate(state[key].shape)
            )
            groups = numbers.get((path, "groups", None), getattr(layer, "groups", 1))
            for attribute, value in layer_numbers(layer, shape, groups).items():
                found[path, attribute, None] = value
    return found


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


def _run(model: nn.Module, pruned: nn.Module, graph: ChannelGraph) -> None:
    """One forward pass: the pruned model runs and its outputs have the same shapes.

    How many boxes a detector returns is up to the values: there only the run counts.
    """
    inputs = graph.inputs
    with torch.no_grad(), untouched(model), untouched(pruned):
        expected = model(*inputs)
        try:
            found = pruned(*inputs)
        except Exception as error:
            raise PlanError(pruned_failure(error)) from error
    before, after = (
        [tuple(tensor.shape) for tensor in tensors_in(value)]
        for value in (expected, found)
    )
    if before != after and not graph.traced.by_value:
        message = (
            f"The pruned model's output has another shape: expected {before}, found "
            f"{after}."
        )
        raise PlanError(message)
