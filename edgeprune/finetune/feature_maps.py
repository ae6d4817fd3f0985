"""The last feature map of a network: the last picture that it makes of its input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import WorkloadError
from edgeprune.graph.trace import evaluating

MAP_DIMS = 4


@dataclass
class FeatureMap:
    """What a module has made when it was run last, seen from outside.

    Attributes:
        module: its path.
        value: shape (N, channels, H, W).
    """

    module: str
    value: Tensor

    @contextmanager
    def watched(self, model: nn.Module) -> Iterator[None]:
        """Inside, runs of a model or of a copy of it are seen."""

        def see(_: nn.Module, __: Any, made: Any) -> None:
            if _is_map(made):
                self.value = made

        handle = model.get_submodule(self.module).register_forward_hook(see)
        try:
            yield
        finally:
            handle.remove()


def last_feature_map(model: nn.Module, x: Tensor) -> FeatureMap:
    """The last one that a module makes whose height and width are not both 1.

    Args:
        x: inputs, shape (N, channels, H, W).

    Raises:
        WorkloadError: there is none.
    """
    found: list[FeatureMap] = []
    handles: list[Any] = []

    def seeing(path: str) -> Any:
        def see(_: nn.Module, __: Any, made: Any) -> None:
            if _is_map(made):
                found.append(FeatureMap(path, made))

        return see

    for path, module in model.named_modules():
        if not next(module.children(), None):
            handles.append(module.register_forward_hook(seeing(path)))
    try:
        with evaluating(model), torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        message = (
            "The network makes no feature map of shape (N, channels, H, W): neither "
            "--distil features nor --self-supervised goes with it."
        )
        raise WorkloadError(message)
    return found[-1]


def _is_map(made: Any) -> bool:
    if not isinstance(made, Tensor) or made.ndim != MAP_DIMS:
        return False
    return made.shape[-1] * made.shape[-2] > 1
