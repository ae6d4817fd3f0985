"""`tensor.data`, which torch's tracers cannot follow, as operators that they can.

Under torch.export its getter ends the process, and the setter replaces what a tensor
holds behind the tracer's back. In a network it stands for a tensor without its history,
and for new values of a weight, as of one that is kept at a norm of at most 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

GET, SET = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]


class DataAsOperators(TorchFunctionMode):
    """Inside, reading and setting `data` is recorded like any operator."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return as_operator(func)(*args, **(kwargs or {}))


def as_operator(func: Callable[..., Any]) -> Callable[..., Any]:
    """What to call instead of the getter or setter of `data`; other functions stay."""
    if func == GET:
        return Tensor.detach
    return _assign if func == SET else func


def _assign(tensor: Tensor, value: Tensor) -> None:
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        SET(tensor, value)
        return
    with torch.no_grad():
        tensor.copy_(value)
