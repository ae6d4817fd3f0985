"""How a user's forward is run: in which mode, without a word, and without a trace."""

from __future__ import annotations

import io
import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import chain
from typing import Any

from torch import nn

OF_MODULES = frozenset(vars(nn.Module()))  # what torch's modules hold
MISSING = object()  # an attribute that is not there


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch and ONNX Runtime print, log and warn about themselves away."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def untouched(
    model: nn.Module, *, training: bool = False
) -> Iterator[dict[tuple[str, str], Any]]:
    """Run a model in evaluation mode, or in training mode, and leave no trace of it.

    Yields:
        a dict that afterwards holds what was there of all that the run changed.
    """
    with undisturbed(model) as before, evaluating(model):
        model.train(training)
        yield before


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[dict[tuple[str, str], Any]]:
    """Undo, at the end, what the user's code keeps in its modules while it runs.

    Yields:
        a dict that afterwards holds what was undone, by module and attribute.
    """
    held: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    filled: list[tuple[Any, Any]] = []  # containers that forward may put tensors into
    for path, module in model.named_modules():
        own = vars(module)
        kept = (own, own["_parameters"], own["_buffers"])
        held += [(path, item, dict(item)) for item in kept]
        filled += [
            (value, value.copy())
            for name, value in own.items()
            if isinstance(value, dict | list) and name not in OF_MODULES
        ]
    changed: dict[tuple[str, str], Any] = {}
    try:
        yield changed
    finally:
        for path, item, before in held:
            for name in item.keys() | before.keys():
                if item.get(name, MISSING) is not before.get(name, MISSING):
                    changed[path, name] = before.get(name, MISSING)
            item.clear()
            item.update(before)
        for container, before in filled:
            _refill_(container, before)


def _refill_(container: Any, before: Any) -> None:
    """Give a dict or a list what it held, if it holds something else now."""
    keyed = isinstance(container, dict)
    now, then = (
        list(chain.from_iterable(item.items())) if keyed else list(item)
        for item in (container, before)
    )
    if len(now) == len(then) and all(map(operator.is_, now, then)):
        return  # it may be one that refuses changes
    container.clear()
    fill = container.update if keyed else container.extend
    fill(before)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
