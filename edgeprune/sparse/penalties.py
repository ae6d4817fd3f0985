"""Penalties on single weights and on the weights of channels, with their proximal step.

Xu, "Research on Model Compression Based on Convolutional Neural Network" (Prox-SG);
Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.graph.channels import Channels, Slices, trained
from edgeprune.sparse.masked import Masks
from edgeprune.sparse.proximal import block_norms, soft_threshold, step_sizes

TINY = 1e-30
SAMPLE = 100_000  # elements
Steps = Mapping[str, Tensor | float]  # of each element or one for all, by parameter


@dataclass(frozen=True)
class Aim:
    """The aim of a penalty.

    Attributes:
        size: what is larger is penalised less, by the square of how much larger it
            is; None penalises all alike. Zou, "The Adaptive Lasso and Its Oracle
            Properties", 2006.
        most: share that may be zero at all; channels do not come back.
    """

    size: float | None
    most: float

    def eased(self, sizes: Tensor) -> Tensor:
        """Return the factors by which a penalty is eased, 0..1."""
        if self.size is None:
            return torch.ones_like(sizes)
        return (self.size / sizes.clamp_min(TINY)).clamp_max(1.0) ** 2


class Penalty(Protocol):
    """A penalty that drives elements or blocks to zero."""

    def begin(self, network: nn.Module) -> None:
        """Before the first step."""
        ...

    def size_at(self, network: nn.Module, share: float) -> float:
        """Return the size below which a share lies, as a sum of thresholds."""
        ...

    def step(self, network: nn.Module, optimizer: Optimizer) -> float:
        """The median step size of what is meant."""
        ...

    def shrink_(
        self, network: nn.Module, optimizer: Optimizer, weight: float, aim: Aim
    ) -> None:
        """One proximal step of weight times the penalty."""
        ...

    def zeros(self, network: nn.Module) -> float:
        """The share that is zero, 0..1."""
        ...

    def cut(self, network: nn.Module, share: float) -> Masks:
        """Masks for what is zero, and for the smallest up to a share."""
        ...


class Elements:
    """Weights one by one, in the l1 norm.

    Args:
        names: of the parameters that are meant.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)

    def begin(self, network: nn.Module) -> None:
        """All weights count alike."""

    def size_at(self, network: nn.Module, share: float) -> float:
        """Return the size below which a share of all weights lies, by a sample."""
        sizes = _sampled(self._sizes(network))
        return float(sizes.kthvalue(max(1, round(share * len(sizes)))).values)

    def step(self, network: nn.Module, optimizer: Optimizer) -> float:
        """Return the median step size of all weights."""
        return _median_step(network, optimizer, self._names)

    def shrink_(
        self, network: nn.Module, optimizer: Optimizer, weight: float, aim: Aim
    ) -> None:
        """Soft threshold."""
        for name, parameter in network.named_parameters():
            if name in self._names and parameter.requires_grad:
                eased = aim.eased(parameter.data.abs())
                limit = eased * step_sizes(optimizer, parameter) * weight
                parameter.data.copy_(soft_threshold(parameter.data, limit))

    def zeros(self, network: nn.Module) -> float:
        """The share of weights that are zero."""
        held = [p for name, p in network.named_parameters() if name in self._names]
        left = sum(int(parameter.count_nonzero()) for parameter in held)
        return 1 - left / sum(parameter.numel() for parameter in held)

    def cut(self, network: nn.Module, share: float) -> Masks:
        """Zeros and the smallest weights."""
        sizes = self._sizes(network)
        count = round(share * len(sizes))
        limit = float(sizes.kthvalue(count).values) if count else 0.0
        return {
            name: parameter.detach().abs() > limit
            for name, parameter in network.named_parameters()
            if name in self._names
        }

    def _sizes(self, network: nn.Module) -> Tensor:
        return torch.cat(
            [
                parameter.detach().abs().flatten()
                for name, parameter in network.named_parameters()
                if name in self._names
            ]
        )


class Blocks:
    """Channels, in the group lasso: a weighted sum of the channels' norms.

    Yuan and Lin, "Model Selection and Estimation in Regression with Grouped
    Variables", 2006: the weights are the roots of how many elements a channel has.

    Args:
        slices: what counts of a channel; no element twice. A channel without any is
            left alone.
        even: multiply the weights by the mean size in the channel's group at first.
            Else layers whose weights are small by nature vanish before all others.
    """

    def __init__(
        self, channels: Channels, slices: Collection[Slices], *, even: bool
    ) -> None:
        self._channels, self._slices, self._even = channels, slices, even
        self._names = {item.parameter for item in slices}
        self._weights = torch.zeros(len(channels))

    def begin(self, network: nn.Module) -> None:
        """The weights of the sum; what is not trained does not count."""
        self._slices = trained(network, self._slices)
        self._names = {item.parameter for item in self._slices}
        roots = self._channels.sizes(network, self._slices).sqrt()
        self._weights = roots
        if self._even:
            norms, group_of = self._norms(network)[0], self._channels.group_of
            none = torch.zeros(len(self._channels.groups))
            sums = none.index_add(0, group_of, norms / roots.clamp_min(1))
            counts = none.index_add(0, group_of, torch.ones_like(norms))
            self._weights = roots * (sums / counts)[group_of].clamp_min(TINY)

    def size_at(self, network: nn.Module, share: float) -> float:
        """Return the size below which a share of the norms lies, each by its weight."""
        norms, per = self._norms(network)
        return float((norms / per)[per > 0].quantile(share))

    def step(self, network: nn.Module, optimizer: Optimizer) -> float:
        """Return the median step size of all elements."""
        return _median_step(network, optimizer, self._names)

    def shrink_(
        self, network: nn.Module, optimizer: Optimizer, weight: float, aim: Aim
    ) -> None:
        """Block soft threshold.

        The largest channel of each group is spared, and of those that would be too
        many zeros the largest ones.
        """
        norms, per = self._norms(network)
        sizes = norms / per.clamp_min(TINY)
        weights = weight * per * aim.eased(sizes)
        weights[self._channels.best(sizes)] = 0.0
        steps = {
            name: step_sizes(optimizer, parameter)
            for name, parameter in network.named_parameters()
            if name in self._names
        }
        left = self._left(network, norms, steps, weights)
        zero = torch.nonzero((left == 0) & (per > 0)).flatten()
        allowed = round(aim.most * int((per > 0).sum()))
        if len(zero) > allowed:
            largest = sizes[zero].argsort()[allowed:]
            weights[zero[largest]] = 0.0
            left[zero[largest]] = norms[zero[largest]].double()
        self._scale_(network, left, steps, weights)

    def zeros(self, network: nn.Module) -> float:
        """The share of channels that are zero."""
        norms, per = self._norms(network)
        return float((norms[per > 0] == 0).float().mean())

    def cut(self, network: nn.Module, share: float) -> Masks:
        """Channels that are zero and the smallest, with all that belongs to them."""
        norms, per = self._norms(network)
        sizes = torch.where(per > 0, norms / per.clamp_min(TINY), math.inf)
        sizes[self._channels.best(sizes.where(per > 0, torch.tensor(-1.0)))] = math.inf
        count = round(share * int((per > 0).sum()))
        zero = sizes == 0
        zero[sizes.argsort()[:count]] = True
        return self._channels.masks(network, zero & sizes.isfinite())

    def _norms(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Return each channel's norm, and its weight in the sum; 0 leaves it alone."""
        norms = self._channels.squares(network, self._slices).sqrt()
        return norms, self._weights

    def _held(self, network: nn.Module) -> list[tuple[Slices, Tensor]]:
        tensors = dict(network.named_parameters())
        return [(item, tensors[item.parameter]) for item in self._slices]

    def _left(
        self, network: nn.Module, norms: Tensor, steps: Steps, weights: Tensor
    ) -> Tensor:
        """The norm of each channel after the proximal step, in float64."""
        if (step := _same(steps)) is not None:
            return (norms - step * weights).clamp_min(0.0).double()
        values, sizes, block = [], [], []
        for item, parameter in self._held(network):
            values.append(parameter.data.flatten())
            each = torch.as_tensor(steps[item.parameter]).expand(parameter.shape)
            sizes.append(each.flatten())
            numbers = torch.arange(len(weights))
            owner = item.spread(numbers, parameter.ndim, -1).expand(parameter.shape)
            block.append(owner.flatten())
        owner = torch.cat(block)
        here = owner >= 0
        return block_norms(
            torch.cat(values)[here], torch.cat(sizes)[here], owner[here], weights
        )

    def _scale_(
        self, network: nn.Module, left: Tensor, steps: Steps, weights: Tensor
    ) -> None:
        """U = v * s / (s + p * weight); zero where s is, and v where the weight is."""
        for item, parameter in self._held(network):
            ndim = parameter.ndim
            norm = item.spread(left, ndim, 1.0)
            pull = item.spread(weights.double(), ndim, 0.0) * steps[item.parameter]
            factor = torch.where(norm > 0, norm / (norm + pull).clamp_min(TINY), 0.0)
            parameter.data.mul_(factor.to(parameter.dtype))


def _same(steps: Steps) -> float | None:
    """The step size, if it is one for all."""
    found: set[float] = set()
    for step in steps.values():
        if isinstance(step, Tensor):
            return None
        found.add(step)
    return found.pop() if len(found) == 1 else None


def _median_step(
    network: nn.Module, optimizer: Optimizer, names: Collection[str]
) -> float:
    """Over some parameters, by a sample of elements; a few of Adam's are huge."""
    steps = [
        _sampled(torch.as_tensor(step_sizes(optimizer, item)).expand(item.shape))
        for name, item in network.named_parameters()
        if name in names
    ]
    return float(torch.cat(steps).median())


def _sampled(values: Tensor) -> Tensor:
    """Elements at even distances, enough of them for a quantile."""
    return values.flatten()[:: max(1, values.numel() // SAMPLE)]
