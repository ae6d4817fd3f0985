"""Batch norms for the time of sparse training, where a network has none.

Network slimming reads a channel's worth from the scale of its batch norm. A layer
without one gets one that changes nothing at first; afterwards it is folded into the
layer's weight and bias, so that the network is what it was, with other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgeprune.graph.channels import BATCH_NORMS
from edgeprune.graph.forward import evaluating
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import copy_numbers_, replace_, running
from edgeprune.graph.model_copy import copied

NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
}
BATCHES = 8  # that statistics are taken from
LEAST = 1e-6  # variance, of a channel that does not vary


class Normed(nn.Module):
    """A layer with a batch norm that will go again.

    What the norm returns is multiplied by fixed numbers, so that its scales can be 1
    at first, as those of any new norm: the penalty takes them for what they are worth.
    """

    spread: Tensor

    def __init__(self, layer: nn.Module, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.norm = NORMS[type(layer)](len(mean), dtype=mean.dtype)
        assert isinstance(self.norm, BATCH_NORMS)
        copy_numbers_(layer, self)
        spread = (variance + self.norm.eps).sqrt()
        self.register_buffer("spread", spread)
        with torch.no_grad():
            self.norm.running_mean.copy_(mean)  # type: ignore[union-attr]
            self.norm.running_var.copy_(variance)  # type: ignore[union-attr]
            self.norm.bias.copy_(mean / spread)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, normed."""
        found = self.norm(self.layer(x))
        return found * self.spread.reshape(-1, *[1] * (found.ndim - 2))

    def folded(self) -> nn.Module:
        """The layer, with all the rest in its weight and bias."""
        fold_(self.layer, self.norm, self.spread)
        return self.layer


def with_norms(
    model: nn.Module, graph: ChannelGraph, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy with a batch norm behind each layer that makes channels and has none.

    It computes what the model computes, in evaluation mode. A layer without a bias is
    left alone: the norm's shift could not be folded into it.

    Returns:
        The copy, and the layers that have a norm now.
    """
    normed = copied(model)
    names = _without(normed, graph)
    moments = _moments(normed, names, batches)
    for name, (mean, variance) in moments.items():
        layer = normed.get_submodule(name)
        replace_(normed, name, Normed(layer, mean, variance))
    return normed, tuple(moments)


def without_norms(model: nn.Module) -> nn.Module:
    """A copy without the temporary norms; the same function in evaluation mode."""
    folded = copied(model)
    for name, module in list(folded.named_modules()):
        if isinstance(module, Normed):
            replace_(folded, name, module.folded())
    return folded


def fold_(layer: nn.Module, norm: nn.Module, spread: Tensor) -> None:
    """Multiply a batch norm, as in evaluation mode, and more into the layer before."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)  # `with_norms` sees to it
    mean, variance, scale, shift = (
        getattr(norm, name).detach().double()
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    factor = scale / (variance + norm.eps).sqrt()  # type: ignore[operator]
    with torch.no_grad():
        shape = (-1,) + (1,) * (weight.ndim - 1)
        weight.copy_(weight.double() * (factor * spread).reshape(shape))
        bias.copy_(((bias.double() - mean) * factor + shift) * spread)


def _without(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """Layers that make channels of a group, and have a bias but no norm behind them."""
    makers = {
        path.rpartition(".")[0]
        for group in graph.groups
        for path in group.layers("output")
        if path.endswith(".weight")
    }
    found = [
        name
        for name, layer in model.named_modules()
        if name in makers
        and type(layer) in NORMS
        and getattr(layer, "bias", None) is not None
        and all(item.requires_grad for item in layer.parameters())
        and not graph.norms_behind(name)
        and graph.alone(name)
    ]
    return running(model, graph.inputs, found, _plain_norm)


def _plain_norm(layer: nn.Module) -> nn.Module:
    """A layer with a norm whose numbers do not matter yet."""
    weight = layer.weight
    assert isinstance(weight, Tensor)  # of every layer that can have a norm
    ones = torch.ones(len(weight), dtype=weight.dtype)
    return Normed(layer, 0 * ones, ones)


def _moments(
    model: nn.Module, names: Iterable[str], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of what layers return, by channel.

    Layers that return anything but (N, channels, ...) are left out: a batch norm does
    not take it.
    """
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    odd: set[str] = set()

    def see(name: str, values: Tensor) -> None:
        if isinstance(model.get_submodule(name), nn.Linear) and values.ndim != 2:
            odd.add(name)
            return
        flat = values.detach().double().transpose(0, 1).flatten(1)
        first, second, count = sums.get(name, (torch.zeros(1), torch.zeros(1), 0))
        sums[name] = (
            first + flat.sum(1),
            second + (flat**2).sum(1),
            count + flat.shape[1],
        )

    with _seeing(model, names, see), evaluating(model), torch.no_grad():
        for (x, _), _ in zip(batches, range(BATCHES), strict=False):
            model(x.to(next(model.parameters()).dtype))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, (first, second, count) in sums.items():
        if name in odd:
            continue
        mean = first / count
        variance = (second / count - mean**2).clamp_min(LEAST)
        dtype = next(model.parameters()).dtype
        found[name] = mean.to(dtype), variance.to(dtype)
    return found


@contextmanager
def _seeing(
    model: nn.Module, names: Iterable[str], see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Show what some modules return."""
    hooks = [
        model.get_submodule(name).register_forward_hook(_shown(see, name))
        for name in names
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _shown(see: Callable[[str, Tensor], None], name: str) -> Callable[..., None]:
    def hook(_: nn.Module, __: object, values: Tensor) -> None:
        see(name, values)

    return hook
