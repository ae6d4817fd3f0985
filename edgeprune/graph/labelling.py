"""One run of a traced network over labels instead of numbers."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from edgeprune.graph.labels import (
    Axis,
    ConstraintStore,
    Factor,
    LabelArray,
    Labels,
    Reason,
)
from edgeprune.graph.operators import operator_named
from edgeprune.graph.provenance import Visit
from edgeprune.graph.rules import Call, operator_name, result_shape
from edgeprune.graph.rules.call import bound_arguments
from edgeprune.graph.sizes import AttributeSize, AxisSize
from edgeprune.graph.trace import Trace
from edgeprune.graph.weights import sources


@dataclass
class Labelling:
    """One run of a traced network over labels.

    Attributes:
        widths: the axes of the network that this one was pruned from.
        fed: the results that depend on an input of the network.
        kernels: parameters that kernels are computed from, whose axes behind the
            second have no labels. They may be flattened with channels on the way.
        axes: the labels of every axis of every parameter.
        values: the labels of every result.
        calls: of each operator so far. Operators that change nothing, as `contiguous`
            at times, are not in every trace, so that a count of all would differ.
    """

    constraints: ConstraintStore
    widths: Mapping[Axis, LabelArray]
    fed: Collection[fx.Node]
    kernels: Collection[str]
    axes: dict[Axis, LabelArray] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter[str])


def label(
    traced: Trace,
    constraints: ConstraintStore,
    bypassed: Collection[str] = (),
    original: Mapping[Axis, LabelArray] | None = None,
) -> Labelling:
    """Run a network over labels, some modules left out.

    Args:
        original: the axes of the network that this one was pruned from. There may
            be one channel left along an axis that had many.
    """
    run = Labelling(constraints, original or {}, _fed(traced), _kernels(traced))
    passed, gone = skipped(traced, bypassed)
    for node in traced.nodes:
        if node in passed:
            run.values[node] = run.values[passed[node]]
        elif node in gone:
            continue
        elif node.op == "placeholder" and node.users.keys() - gone:
            run.values[node] = _placeholder(run, traced, node)
        elif node.op == "call_function":
            run.values[node] = _call(run, node)
        elif node.op == "output":
            reason = Reason("output of the network")
            for source in node.all_input_nodes:
                constraints.freeze_all(run.values[source], reason)
        else:
            run.values[node] = Labels(result_shape(node))  # a constant of the code
    _follow_comparisons(run, traced)
    return run


def skipped(
    traced: Trace, bypassed: Collection[str]
) -> tuple[dict[fx.Node, fx.Node], set[fx.Node]]:
    """What a run leaves out with some modules.

    Returns:
        The results of the modules, with what stands for them; all that is not run, with
        these.
    """
    visits = [visit for module in bypassed for visit in traced.visits.get(module, [])]
    passed = {
        visit.left: visit.entered
        for visit in visits
        if visit.left is not None and visit.entered is not None
    }
    if not visits:
        return passed, set()
    order = {node: index for index, node in enumerate(traced.nodes)}
    needed = _reaching_output(traced, passed)
    return passed, {
        node
        for node in order
        if node in passed or (node not in needed and is_inside(order, node, visits))
    }


def _fed(traced: Trace) -> set[fx.Node]:
    """The nodes that depend on an input, not on weights and constants alone."""
    fed: set[fx.Node] = set()
    for node in traced.nodes:
        given = node.op == "placeholder" and node.name not in traced.owners
        if given or not fed.isdisjoint(node.all_input_nodes):
            fed.add(node)
    return fed


def _kernels(traced: Trace) -> set[str]:
    """The parameters of a kernel's shape that a computed kernel depends on."""
    found: set[str] = set()
    for node in traced.nodes:
        weight = node.args[1] if len(node.args) > 1 else None
        if (
            node.op == "call_function"
            and operator_named(operator_name(node)).layer
            and isinstance(weight, fx.Node)
            and weight.name not in traced.owners
        ):
            found.update(sources(traced, weight))
    return found


def _reaching_output(traced: Trace, passed: Mapping[fx.Node, fx.Node]) -> set[fx.Node]:
    """The nodes that the output depends on, some of them taken for others."""
    reached: set[fx.Node] = set()
    waiting = [node for node in traced.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            taken = passed.get(node)
            waiting += node.all_input_nodes if taken is None else [taken]
    return reached


def is_inside(
    order: Mapping[fx.Node, int], node: fx.Node, visits: Sequence[Visit]
) -> bool:
    """Whether a node was made inside one of some calls of modules."""
    return any(
        visit.entered is not None
        and visit.left is not None
        and order[visit.entered] < order[node] <= order[visit.left]
        for visit in visits
    )


def _placeholder(run: Labelling, traced: Trace, node: fx.Node) -> Labels:
    """Fresh labels for every axis of a parameter; none for an input."""
    shape = result_shape(node)
    path = traced.owners.get(node.name)
    if path is None:
        return Labels(shape)
    factors: list[Factor] = []
    for axis, size in enumerate(shape[:2] if path in run.kernels else shape):
        labels = run.axes[path, axis] = run.constraints.fresh(size)
        if len(run.widths.get((path, axis), labels)) > 1:
            factors.append(Factor.lying(labels, len(shape), axis))
    return Labels(shape, tuple(factors))


def _call(run: Labelling, node: fx.Node) -> Any:
    if node.target is operator.getitem:
        several = run.values[node.all_input_nodes[0]]
        refused = isinstance(several, Labels)  # more results than the rule knows of
        return Labels(result_shape(node)) if refused else several[node.args[1]]
    arguments = {
        name: fx.map_arg(value, lambda item: run.values[item])
        for name, value in bound_arguments(node).items()
    }
    name = operator_name(node)
    run.calls[name] += 1
    shape = result_shape(node)
    call = Call(
        constraints=run.constraints,
        node=node,
        arguments=arguments,
        shape=shape,
        values=run.values,
        name=f"{name} {run.calls[name]}",
        fed=node in run.fed,
    )
    known = operator_named(name)
    if not any(tensor.factors for tensor in call.tensors()) and not known.makes:
        return call.refuse()  # nothing to freeze: as many results as it has
    return known.rule(call)


def _follow_comparisons(run: Labelling, traced: Trace) -> None:
    """A number that the code found equal to the length of an axis goes with it."""
    for pair in traced.comparisons.equal:
        for number, length in (pair, pair[::-1]):
            if isinstance(number, AttributeSize) and isinstance(length, AxisSize):
                value = run.values.get(length.node)
                factors = value.along(length.axis) if isinstance(value, Labels) else []
                for factor in factors:
                    run.constraints.follow(number.path, factor, length.axis)
