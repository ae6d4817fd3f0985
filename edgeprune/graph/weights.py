"""Which parameter a layer's weight is, or is computed from.

Weight and spectral norm, weight standardisation, masks and the like compute the weight
that an operator reads from parameters; the exporter folds that away. The layer is the
same one: it is named after the parameter of its weight's shape.
"""

from __future__ import annotations

from torch import fx

from edgeprune.graph.rules.call import bound_arguments, result_shape
from edgeprune.graph.trace import Trace


def weight_of(traced: Trace, node: fx.Node) -> str | None:
    """The parameter that a layer's weight is or is computed from.

    None where it depends on an input, or on no parameter of its shape.
    """
    weight = bound_arguments(node)["weight"]
    if weight.name in traced.owners:
        return traced.owners[weight.name]
    before = ancestors(weight)
    inputs = (item for item in before if item.op == "placeholder")
    if any(item.name not in traced.owners for item in inputs):
        return None
    alike = sources(traced, weight)
    return next((path for path in alike if path in traced.parameters), None)


def sources(traced: Trace, weight: fx.Node) -> list[str]:
    """The parameters and buffers of a computed weight's shape that it depends on."""
    before, shape = ancestors(weight), result_shape(weight)
    return [
        path
        for node in traced.nodes
        if node in before
        and (path := traced.owners.get(node.name)) is not None
        and result_shape(node) == shape
    ]


def ancestors(node: fx.Node) -> set[fx.Node]:
    """All nodes that one depends on."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found
