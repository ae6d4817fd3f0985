"""A copy of a model that owes nothing to the original, not even through its hooks."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import CellType, FunctionType
from typing import Any, TypeVar

from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError, first_line
from edgeprune.graph.forward import MISSING
from edgeprune.graph.trace import Inputs, Trace, retrace

Model = TypeVar("Model", bound=nn.Module)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def copied(model: Model, before: Mapping[tuple[str, str], Any] | None = None) -> Model:
    """A deep copy, the closures of its hooks and functions included.

    Python copies a bound method along with its module, but shares a function and what
    it closes over: a hook such as `lambda *_: setattr(self, "seen", ...)` of a copy
    would still write to the original. Activations that the code keeps are copied
    without their history, which torch refuses to copy.

    Args:
        before: what modules of the copy hold instead of what they hold now; see
            `Trace.before`.

    Raises:
        PlanError: the model cannot be copied.
    """
    before = before or {}
    held = [vars(module) for module in model.modules()]
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().clone()
        for tensor in _tensors_in([*held, before])
        if not tensor.is_leaf
    }
    try:
        made = copy.deepcopy(model, memo)
    except Exception as error:
        raise PlanError(f"Cannot copy the model: {first_line(error)}.") from error
    modules = dict(made.named_modules())
    for (path, name), value in before.items():
        module = modules.get(path)
        if module is not None and value is not MISSING:
            setattr(module, name, copy.deepcopy(value, memo))
        elif module is not None and name in vars(module):
            delattr(module, name)
    for holder in _function_holders(made):
        for key, function in holder.items():
            if isinstance(function, FunctionType):
                holder[key] = _rebound(function, memo)
    return made


def check_copy(model: nn.Module, inputs: Inputs, traced: Trace) -> None:
    """Refuse a model whose functions refer to it in a way that no copy can follow.

    Only the trace of a copy can show that; it is taken where there are functions.

    Raises:
        TraceError: with the remedy.
    """
    functions = (
        function
        for holder in _function_holders(model)
        for function in holder.values()
        if callable(function) and not isinstance(function, type | nn.Module)
    )
    if next(functions, None) is None:
        return
    try:
        again = retrace(copied(model), inputs, {}, by_value=traced.by_value)
    except TraceError:
        again = None
    if again is None or _outline(again) != _outline(traced):
        raise TraceError(
            f"A copy of {type(model).__name__} does not compute what it computes: a "
            "hook or function in it refers to the original by a global name. Let it "
            "refer to `self`, or make it a method."
        )


def _outline(traced: Trace) -> tuple[Counter[str], frozenset[str]]:
    """How often each operator runs, and which parameters are read."""
    kinds = Counter(f"{node.op} {node.target}" for node in traced.nodes)
    return kinds, traced.read


def _function_holders(model: nn.Module) -> Iterator[dict[Any, Any]]:
    """The dicts of a model's modules in which functions are kept."""
    for module in model.modules():
        own = vars(module)
        yield own
        for name in HOOKS:
            yield own[name]


def _tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    """Tensors among some values, and in lists, tuples and dicts of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors_in(list(value.values()))
        elif isinstance(value, list | tuple):
            yield from _tensors_in(value)


def _rebound(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """A function that closes over the copies of what it closed over."""

    def new(value: Any) -> Any:
        if isinstance(value, FunctionType):
            return _rebound(value, memo)
        return memo.get(id(value), value)

    if id(function) in memo:  # it may call itself
        return memo[id(function)]
    old = function.__closure__ or ()
    given, named = function.__defaults__, function.__kwdefaults__
    made = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        closure=tuple(CellType() for _ in old),
    )
    memo[id(function)] = made
    for cell, before in zip(made.__closure__ or (), old, strict=True):
        with suppress(ValueError):  # of a name that has no value yet
            cell.cell_contents = new(before.cell_contents)
    made.__defaults__ = given and tuple(new(value) for value in given)
    made.__kwdefaults__ = named and {name: new(value) for name, value in named.items()}
    made.__dict__.update(vars(function))
    return made
