"""Feature maps: the pictures that a network makes of its input on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from edgeprune.errors import WorkloadError
from edgeprune.graph.forward import evaluating

MAP_DIMS = 4
SHORTEST = 3  # axes of what has places: (N, channels, length), or (N, tokens, width)


@dataclass
class FeatureMap:
    """Keeps the output of a module's last call, without a change of the module.

    Attributes:
        module: its path.
        value: shape (N, channels, ...); empty if it was not run.
    """

    module: str
    value: Tensor

    def taken(self) -> Tensor:
        """The value, which is held no longer."""
        value, self.value = self.value, self.value.new_empty(0)
        return value

    @contextmanager
    def watched(self, model: nn.Module) -> Iterator[None]:
        """Inside, runs of a model or of a copy of it are seen."""

        def see(_: str, value: Tensor) -> None:
            self.value = value

        self.taken()  # what is seen is of this run
        with _seeing(model, [self.module], see):
            yield


def last_feature_map(model: nn.Module, x: Tensor) -> FeatureMap:
    """The last one that a module makes whose height and width are not both 1.

    Args:
        x: inputs, shape (N, channels, H, W).

    Raises:
        WorkloadError: there is none.
    """
    leaves = [
        path for path, module in model.named_modules() if not [*module.children()]
    ]
    pictures = [
        FeatureMap(path, value)
        for path, value in _maps(model, x, leaves).items()
        if value.ndim == MAP_DIMS
    ]
    if not pictures:
        message = (
            "The network makes no feature map of shape (N, channels, H, W): "
            "--self-supervised does not go with it."
        )
        raise WorkloadError(message)
    return pictures[-1]


def shared_feature_maps(
    network: nn.Module, teacher: nn.Module, x: Tensor
) -> list[tuple[FeatureMap, FeatureMap]]:
    """The last map of each size that modules of the same path make in both networks.

    Channels may differ in number; all other axes are alike.
    """
    made, wanted = (
        _maps(model, x, [path for path, _ in model.named_modules()])
        for model in (network, teacher)
    )
    found = {
        value.shape[2:]: path
        for path, value in made.items()
        if path in wanted and alike(value, wanted[path])
    }
    return [
        (FeatureMap(path, made[path]), FeatureMap(path, wanted[path]))
        for path in found.values()
    ]


def alike(found: Tensor, wanted: Tensor) -> bool:
    """Whether both are maps of the same samples and places; axis 1 does not count."""
    places = [(value.shape[0], *value.shape[2:]) for value in (found, wanted)]
    return _is_map(found) and _is_map(wanted) and places[0] == places[1]


def _maps(model: nn.Module, x: Tensor, paths: list[str]) -> dict[str, Tensor]:
    """Run a model and return the outputs of modules in the order of completion."""
    found: dict[str, Tensor] = {}

    def see(path: str, value: Tensor) -> None:
        if len(value) == len(x):
            found.pop(path, None)
            found[path] = value

    with _seeing(model, paths, see), evaluating(model), torch.no_grad():
        model(x)
    return found


@contextmanager
def _seeing(
    model: nn.Module, paths: list[str], see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Inside, the maps that modules make are seen."""

    def hook(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def called(_: nn.Module, __: Any, made: Any) -> None:
            if _is_map(made):
                see(path, made)

        return called

    handles = [
        module.register_forward_hook(hook(path))
        for path in paths
        if not isinstance(module := model.get_submodule(path), ParametrizationList)
    ]  # that makes weights
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_map(made: Any) -> bool:
    if not isinstance(made, Tensor) or made.ndim < SHORTEST:
        return False
    return made.is_floating_point() and made.shape[2:].numel() > 1
