"""The part of a network that goes into the file: up to what one of its modules gives.

What detectors do behind their head, such as choosing boxes, is seldom exported, and
never pruned: it stays in Python, where outputs are judged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgeprune.errors import WorkloadError, first_line

PART = "_edgeprune_part"


class _ReachedError(Exception):
    """The module has run; no error, but what ends the network's own code."""


class _End:
    """Stands for what the module gave, in code that is not to run: it raises when used.

    An exception from within the module would leave the calls around it unfinished, of
    which those that export a network keep count.
    """

    def _used(self, *_: Any, **__: Any) -> Any:
        raise _ReachedError

    __getattr__ = __getitem__ = __iter__ = __len__ = __call__ = _used
    __add__ = __radd__ = __mul__ = __rmul__ = __torch_function__ = _used


def part_of(model: nn.Module, path: str) -> nn.Module:
    """The same network, with the same modules, that ends behind one of them.

    Args:
        path: of the module, such as head.

    Raises:
        WorkloadError: there is no such module.
    """
    try:
        model.get_submodule(path or "?")  # without a name it would be the whole
    except AttributeError:
        names = ", ".join(name for name, _ in model.named_children())
        kind = type(model).__name__
        message = f"--export-output {path}: {kind} has no such module"
        raise WorkloadError(f"{message}; its own are {names}.") from None
    own = type(model)

    def forward(self: nn.Module, *args: Any, **named: Any) -> Any:
        found: list[Any] = []

        def reached(*call: Any) -> Any:
            found.append(call[-1])
            return _End()

        hook = self.get_submodule(path).register_forward_hook(reached)
        try:
            with _ending(self, path):
                own.forward(self, *args, **named)
        except _ReachedError:
            pass
        finally:
            hook.remove()
        if not found:
            message = f"--export-output {path}: {own.__name__} does not run it."
            raise WorkloadError(message)
        return found[0]

    made = copy.copy(model)
    facts = {"forward": forward, "__module__": own.__module__}
    made.__class__ = type(own.__name__, (own,), facts)
    setattr(made, PART, (own, path))
    return made


@contextmanager
def _ending(model: nn.Module, path: str) -> Iterator[None]:
    """Let all modules around the one that ends it return as if nothing had happened.

    Whoever uses what it gave is ended; that is a module that holds it, or one behind.
    """
    inside = f"{path}."
    around = [
        module
        for name, module in model.named_modules()
        if name not in ("", path) and not name.startswith(inside)
    ]
    own = [vars(module).get("forward") for module in around]
    for module in around:
        module.forward = _returning(module.forward)
    try:
        yield
    finally:
        for module, before in zip(around, own, strict=True):
            if before is None:
                del module.forward
            else:
                module.forward = before


def _returning(forward: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **named: Any) -> Any:
        try:
            return forward(*args, **named)
        except _ReachedError:
            return _End()

    return called


def whole_of(model: nn.Module) -> nn.Module:
    """The network that a part is of, with the same modules."""
    if PART not in vars(model):
        return model
    made = copy.copy(model)
    made.__class__ = vars(model)[PART][0]
    delattr(made, PART)
    return made


def ending_of(model: nn.Module) -> str | None:
    """The path of the module that a part ends with; None of a whole network."""
    return vars(model)[PART][1] if PART in vars(model) else None


def finishing(
    model: nn.Module, path: str, sample_shape: tuple[int, ...]
) -> Callable[[Any], Any]:
    """What a whole network makes of outputs of one of its modules.

    The rest of it runs on an empty image: what comes behind a head looks at its outputs
    and at sizes alone.

    Args:
        model: the original; it is copied.
    """
    held = copy.deepcopy(model).eval()

    def finish(outputs: Any) -> Any:
        count = len(
            next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        )

        def replaced(*_: Any) -> Any:
            return outputs

        hook = held.get_submodule(path).register_forward_hook(replaced)
        try:
            with torch.no_grad():
                return held(torch.zeros(count, *sample_shape))
        except Exception as error:
            kind = type(held).__name__
            message = f"{kind} cannot go on from outputs of {path}: {first_line(error)}"
            raise WorkloadError(f"{message}: give a task of your own.") from error
        finally:
            hook.remove()

    return finish
