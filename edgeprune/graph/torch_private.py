"""All that is used of torch that torch does not promise to keep: in this file alone.

When a new torch breaks something, `tests/graph/test_torch_private.py` says what of it
is missing, and this is the place to mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import (
    tree_flatten,
    tree_leaves,
    tree_map_only,
    tree_unflatten,
)

__all__ = [
    "EarlyMode",
    "FakeTensor",
    "FakeTensorMode",
    "TorchDispatchMode",
    "argument_defaults",
    "exporter_tables_kept",
    "functions_opened",
    "has_schema",
    "inside_of",
    "is_compiled",
    "last_node",
    "node_before",
    "plain_name",
    "python_dispatcher",
    "tree_flatten",
    "tree_leaves",
    "tree_map_only",
    "tree_unflatten",
]

COMPILED = "OptimizedModule"  # whose own module is slow to import
COLLECT = "_collect_all_valid_cia_ops"
OVERRIDE = "_override_composite_implicit_decomp"
DROP_RULE = "_deregister_op_impl"
REGISTERED = "_dispatch_get_registrations_for_dispatch_key"
# A function of torch that is written in Python asks these whether to hand itself over
# as a whole. It must not: the operators inside it are what is watched.
ASKED = (
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
)


class EarlyMode(ProxyTorchDispatchMode):
    """A mode that is asked before an operator is taken apart into simpler ones.

    Only modes of its base class are asked so early, which is all that is taken from it.
    """

    def __init__(self) -> None:
        super().__init__(None, "real", pre_dispatch=True)  # pyright: ignore[reportArgumentType]


def python_dispatcher() -> AbstractContextManager[Any]:
    """Inside, modes see operators before autograd does."""
    return enable_python_dispatcher()


def functions_opened() -> AbstractContextManager[Any]:
    """Inside, torch's own functions run operator by operator under a mode."""

    def never(*_: object) -> bool:
        return False

    return patch.multiple(torch.nn.functional, **dict.fromkeys(ASKED, never))


@contextmanager
def exporter_tables_kept() -> Iterator[None]:
    """Inside, the ONNX exporter does not build its tables of operators anew.

    They take the exporter longer than to write a small network. A torch that does
    without one of them is left as it is.
    """
    with ExitStack() as stack:
        for owner, name, kept in _exporter_tables():
            if hasattr(owner, name):
                stack.enter_context(patch.object(owner, name, kept))
        yield


@cache
def _exporter_tables() -> tuple[tuple[Any, str, Any], ...]:
    """Functions that build a table, each as owner and name, and what keeps its result.

    Operators that decompose are collected anew where more are registered by then; the
    exporter takes entries out of its table of decompositions, so it gets a copy.
    """
    try:
        from torch._export import utils
        from torch._subclasses import fake_impls
        from torch.export import decomp_utils, exported_program
        from torch.onnx._internal.exporter import _decomp, _registration

        registry = _registration.ONNXRegistry
        build = cache(registry.from_torchlib)
        collect: Any = getattr(utils, COLLECT)
        decompose = cache(_decomp.create_onnx_friendly_decomposition_table)
        native = torch._C  # pyright: ignore[reportPrivateUsage]
        registered: Any = getattr(native, REGISTERED)
        override: Any = getattr(exported_program, OVERRIDE)
        overrides = KeptOverrides(
            override,
            rules=fake_impls.op_implementations_dict,
            add_rule=fake_impls.register_op_impl,
            drop_rule=getattr(fake_impls, DROP_RULE),
        )
    except (ImportError, AttributeError):
        return ()

    @cache
    def collected(count: int) -> Any:  # noqa: ARG001  a new count asks anew
        return collect()

    def composite() -> Any:
        return collected(len(registered("CompositeImplicitAutograd")))

    def decompositions(known: set[Any]) -> dict[Any, Any]:
        return dict(decompose(frozenset(known)))

    return (
        (registry, "from_torchlib", staticmethod(build)),
        (decomp_utils, COLLECT, composite),
        (exported_program, COLLECT, composite),
        (_decomp, decompose.__name__, decompositions),
        (exported_program, OVERRIDE, overrides.entered),
    )


@dataclass
class KeptOverrides:
    """Overrides composite operators for an export without registering them anew.

    Torch registers some twenty kernels for each of five hundred operators whenever a
    network is taken apart, and takes them back. What the first time left of each
    operator is put back as a whole for the next, as long as torch is the same.

    Attributes:
        override: torch's own, a context manager.
        rules: of operators for tensors without data; `add_rule` and `drop_rule`
            register them.
    """

    override: Callable[[Mapping[Any, Any]], AbstractContextManager[None]]
    rules: Mapping[Any, Any]
    add_rule: Callable[[Any], Callable[[Any], Any]]
    drop_rule: Callable[[Any], None]
    _key: Any = None
    _kernels: dict[Any, dict[Any, Any]] = field(default_factory=dict)
    _added: dict[Any, Any] = field(default_factory=dict)

    @contextmanager
    def entered(self, callables: Mapping[Any, Any]) -> Iterator[None]:
        """Inside, operators are as torch's override makes them.

        Args:
            callables: by operator, what is to be done in its place.
        """
        before = {operator: dict(operator.py_kernels) for operator in callables}
        ruled = {operator for operator in callables if operator in self.rules}
        key = (dict(callables), before, ruled)
        if key != self._key:
            with self.override(callables):
                self._key = key
                self._kernels = {item: dict(item.py_kernels) for item in callables}
                self._added = {
                    item: self.rules[item] for item in callables if item not in ruled
                }
                yield
            return
        try:
            self._put(self._kernels)
            for operator, rule in self._added.items():
                self.add_rule(operator)(rule)
            yield
        finally:
            self._put(before)
            for operator in callables:
                self.drop_rule(operator)

    @staticmethod
    def _put(kernels: Mapping[Any, Mapping[Any, Any]]) -> None:
        for operator, table in kernels.items():
            operator.py_kernels.clear()
            operator.py_kernels.update(table)
            operator._dispatch_cache.clear()


def last_node(graph: fx.Graph) -> fx.Node:
    """The node that was made last; at first the graph's root."""
    return graph._root._prev  # pyright: ignore[reportPrivateUsage]


def node_before(node: fx.Node) -> fx.Node:
    """The node that was made before another one."""
    return node._prev  # pyright: ignore[reportPrivateUsage]


def has_schema(target: object) -> bool:
    """Whether a function is an operator of ATen or of a library like it."""
    return hasattr(target, "_schema")


def plain_name(target: Any) -> str:
    """An operator's name without its library, overload and mark of being in place."""
    name = target._schema.name.split("::")[1]
    return name if name.startswith("_") else name.rstrip("_")


def argument_defaults(target: Any) -> dict[str, Any]:
    """The names of an operator's arguments in their order, with their defaults."""
    return {item.name: item.default_value for item in target._schema.arguments}


def inside_of(module: nn.Module) -> nn.Module:
    """The module itself, where it was compiled or spread over devices."""
    wrapped: Any = module
    while True:
        if isinstance(wrapped, nn.DataParallel | DistributedDataParallel):
            wrapped = wrapped.module
        elif type(wrapped).__name__ == COMPILED:
            wrapped = wrapped._orig_mod
        else:
            return wrapped


def is_compiled(module: nn.Module) -> bool:
    """Whether calls of a module run what torch.compile made, not its code."""
    in_place = getattr(module, "_compiled_call_impl", None) is not None
    return type(module).__name__ == COMPILED or in_place
