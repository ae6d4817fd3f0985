"""Which layers can be fitted, and where what they do is held against the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from torch import fx

from edgeprune.graph.operators import operator_of
from edgeprune.graph.rules import operator_name, result_shape
from edgeprune.graph.rules.call import bound_arguments
from edgeprune.graph.trace import Trace

LINEAR = "linear"  # its channels are the last axis of what it makes


@dataclass(frozen=True)
class Norm:
    """A batch norm, by the paths of its tensors."""

    weight: str
    bias: str
    mean: str
    variance: str
    eps: float


@dataclass(frozen=True)
class Link:
    """An operator behind a layer that is linear in what the layer makes.

    Attributes:
        norm: if it is a batch norm.
        addend: what it adds, which is known before the layer runs.
    """

    node: fx.Node
    norm: Norm | None = None
    addend: fx.Node | None = None


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, or a batch norm that is behind none.

    Attributes:
        weight: its path; None for a batch norm.
        bias: the path of it, if there is one.
        links: what follows it, as far as that is linear.
        limits: between which the network reads what comes out of that; what is beyond
            them is cut off.
    """

    node: fx.Node
    arguments: Mapping[str, Any]
    weight: str | None
    bias: str | None
    norm: Norm | None
    links: tuple[Link, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The path of its weight."""
        assert self.weight is not None or self.norm is not None  # as it was made
        return self.weight or self.norm.weight  # type: ignore[union-attr]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The paths of all that is fitted in it."""
        norm = self.norm
        of_norm = (norm.weight, norm.bias, norm.mean, norm.variance) if norm else ()
        own = [path for path in (self.weight, self.bias) if path is not None]
        return (*own, *of_norm)

    @property
    def channels(self) -> int:
        """The axis of channels of what it makes."""
        last = operator_name(self.node) == LINEAR
        return len(result_shape(self.node)) - 1 if last else 1

    @property
    def end(self) -> fx.Node:
        """The operator whose result is held against the original's."""
        return self.links[-1].node if self.links else self.node

    @property
    def addends(self) -> tuple[fx.Node, ...]:
        """The values that are added to it on the way there."""
        return tuple(link.addend for link in self.links if link.addend is not None)

    def alike(self, other: Layer) -> Layer:
        """With as much of what follows it as follows the other layer, too."""
        pairs = zip(self.links, other.links, strict=False)
        same = takewhile(lambda pair: _kind(pair[0]) == _kind(pair[1]), pairs)
        return self.followed([link for link, _ in same])

    def followed(self, links: list[Link]) -> Layer:
        """The same with other operators behind it."""
        norm = next((link.norm for link in links if link.norm), None)
        own = norm if self.weight is not None else self.norm
        at = links[-1].node if links else self.node
        return replace(self, norm=own, links=tuple(links), limits=_limits(at))


def layers_of(traced: Trace) -> dict[str, Layer]:
    """The layers whose weights are read in one place, in the order in which they run.

    A batch norm that other layers are not fitted with is one by itself.
    """
    order = {node: number for number, node in enumerate(traced.nodes)}
    found: dict[str, Layer] = {}
    behind: set[fx.Node] = set()
    for node in order:
        layer = None
        known = operator_of(node)
        if known.fitted:
            layer = _weighted(traced, node, order)
        elif known.batch_norm and node not in behind:
            layer = _alone(traced, node)
        if layer is not None:
            found[layer.name] = layer
            behind |= {link.node for link in layer.links}
    return found


def _weighted(
    traced: Trace, node: fx.Node, order: Mapping[fx.Node, int]
) -> Layer | None:
    arguments = bound_arguments(node)
    weight, bias = (_own(traced, arguments[name]) for name in ("weight", "bias"))
    if weight is None or (arguments["bias"] is not None and bias is None):
        return None
    layer = Layer(node, arguments, weight, bias, None)
    return layer.followed(_links(traced, node, order))


def _alone(traced: Trace, node: fx.Node) -> Layer | None:
    norm = _norm(traced, node)
    if norm is None:
        return None
    layer = Layer(node, bound_arguments(node), None, norm.bias, norm)
    return layer.followed([])


def _links(traced: Trace, node: fx.Node, order: Mapping[fx.Node, int]) -> list[Link]:
    """One batch norm, and sums with what is known before the layer runs."""
    found: list[Link] = []
    at = node
    while len(at.users) == 1:
        user = next(iter(at.users))
        link = _link(traced, user, at)
        late = link is not None and link.addend and order[link.addend] > order[node]
        if link is None or late or (link.norm and found):
            break
        found.append(link)
        at = user
    return found


def _link(traced: Trace, node: fx.Node, term: fx.Node) -> Link | None:
    known = operator_of(node)
    if known.idle:
        return Link(node)
    if known.batch_norm:
        norm = _norm(traced, node)
        return Link(node, norm) if norm else None
    addend = _addend(node, term) if known.adds else None
    return Link(node, addend=addend) if addend else None


def _limits(node: fx.Node) -> tuple[float, float] | None:
    """Return the limits of the rectifier that alone reads a value, if there is one."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_function":
        return None
    limits = operator_of(users[0]).limits
    return None if limits is None else limits(bound_arguments(users[0]))


def _kind(link: Link) -> str:
    return operator_name(link.node)


def _addend(node: fx.Node, term: fx.Node) -> fx.Node | None:
    """The other one of two terms of the same shape."""
    arguments = bound_arguments(node)
    terms = [arguments.get(name) for name in ("self", "other")]
    others = [item for item in terms if item is not term]
    if arguments.get("alpha", 1) != 1 or len(others) != 1:
        return None
    other = others[0]
    same = isinstance(other, fx.Node) and result_shape(other) == result_shape(term)
    return other if same else None


def _norm(traced: Trace, node: fx.Node) -> Norm | None:
    """A batch norm with tensors of its own."""
    arguments = bound_arguments(node)
    names = ("weight", "bias", "running_mean", "running_var")
    paths = [path for name in names if (path := _own(traced, arguments[name]))]
    return Norm(*paths, eps=arguments["eps"]) if len(paths) == len(names) else None


def _own(traced: Trace, node: Any) -> str | None:
    """The path of a parameter or buffer that is read in one place only."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return None
    return traced.owners.get(node.name)
