"""Sparse training by a prior: channels that the data do not need drown in noise.

Louizos et al., "Bayesian Compression for Deep Learning", 2017, section 4.1: a normal-
Jeffreys (group log-uniform) prior over the scale z of each channel. The posterior is
N(1, alpha), its mean being part of the weights, so that only alpha is learnt; the KL
divergence is the approximation of Molchanov et al., "Variational Dropout Sparsifies
Deep Neural Networks", 2017, equation 14.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.graph.channels import Channels, trained
from edgeprune.sparse.sparse_training import SparseTraining

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # of the approximation
FIRST = -6.0  # log alpha: 5 % of noise
LIMITS = (-10.0, 8.0)  # beyond them nothing changes any more
THRESHOLD = 3.0  # log alpha: 95 % of a channel is noise; Louizos uses it too
GAIN = 2.0  # how fast the weight follows: its logarithm per way behind and step
FASTEST = 0.05  # change of its logarithm per step
TRAVEL = 0.3  # of the first part of the steps takes log alpha from FIRST to THRESHOLD
LOG_ALPHA, MEAN, SQUARE = "log_alpha", "log_alpha/mean", "log_alpha/square"


def kl_divergence(log_alpha: Tensor) -> Tensor:
    """From N(1, alpha) to the log-uniform prior, element by element, but a constant."""
    falling = K1 * torch.sigmoid(K2 + K3 * log_alpha)
    return K1 - falling + 0.5 * nn.functional.softplus(-log_alpha)


class Variational(SparseTraining):
    """Noise on what each channel is read with; its variance is learnt.

    In each step one scale is drawn per channel and multiplies the slices of all
    weights that sum over it, whatever lies between.

    Args:
        samples: of the training data: the prior counts once for all of them.
        generator: of the noise.
    """

    def __init__(
        self,
        channels: Channels,
        samples: int,
        share: float,
        weight: float | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(share, weight)
        self.weight = 1.0 if weight is None else weight
        self._channels, self._samples = channels, max(1, samples)
        self._generator = generator
        self._means: dict[str, Tensor] = {}
        self.log_alpha = torch.full((len(channels),), FIRST, requires_grad=True)
        self._adam = torch.optim.Adam([self.log_alpha])
        self._scale = torch.ones(len(channels))
        self._known = torch.zeros(len(channels), dtype=torch.bool)

    def begin(self, network: nn.Module, optimizer: Optimizer, steps: int) -> None:
        """Log alpha can come from one end to the other in time."""
        super().begin(network, optimizer, steps)
        rate = (THRESHOLD - FIRST) / max(1.0, TRAVEL * self._steps)
        self._adam.param_groups[0]["lr"] = rate
        read = trained(network, self._channels.read)
        self._known = self._channels.sizes(network, read) > 0
        self.weight = 1.0 if self._given is None else self._given
        self.log_alpha.data.fill_(FIRST)
        self._adam.state.clear()

    def before_forward(self) -> None:
        """Multiply what is read by the scales that are drawn."""
        if self.settled:
            return
        shape = self.log_alpha.shape
        noise = torch.randn(shape, generator=self._generator)
        self._scale = 1 + (0.5 * self.log_alpha.detach()).exp() * noise
        tensors = dict(self._network.named_parameters())
        read = {item.parameter for item in self._channels.read}
        self._means = {name: tensors[name].data.clone() for name in read}
        for item in self._channels.read:
            weight = tensors[item.parameter]
            weight.data.mul_(item.spread(self._scale, weight.ndim, 1.0))

    def after_backward(self) -> None:
        """The means are back, with the gradients that they and alpha get."""
        super().after_backward()
        if self.settled:
            return
        by_scale = torch.zeros(len(self._channels))
        tensors = dict(self._network.named_parameters())
        for name, mean in self._means.items():
            tensors[name].data.copy_(mean)
        for item in self._channels.read:
            weight = tensors[item.parameter]
            if weight.grad is None:
                continue
            by_scale += item.summed(weight.grad * weight.data, len(by_scale))
            weight.grad.mul_(item.spread(self._scale, weight.ndim, 1.0))
        self._adam.zero_grad()
        kl = kl_divergence(self.log_alpha).sum() * self.weight / self._samples
        kl.backward()
        assert self.log_alpha.grad is not None  # by `backward`
        self.log_alpha.grad += by_scale * 0.5 * (self._scale - 1)

    def after_step(self) -> None:
        """Learn alpha, too."""
        super().after_step()
        if self.settled:
            return
        self._adam.step()
        with torch.no_grad():
            self.log_alpha.clamp_(*LIMITS)
        if self.progress >= 1:
            self.finish()
        elif self._given is None:
            # The channel that is to be the last to go travels at an even speed.
            noise = self.log_alpha.detach()[self._known]
            here = float(noise.quantile(1 - self._share))
            behind = self.progress - (here - FIRST) / (THRESHOLD - FIRST)
            self.weight *= math.exp(max(-FASTEST, min(FASTEST, GAIN * behind)))

    def finish(self) -> None:
        """Freeze at zero what has drowned in noise."""
        if not self.settled:
            noise = self.log_alpha.detach()[self._known]
            found = float((noise > THRESHOLD).float().mean())
            self.freeze(found, self._channels.masks(self._network, self.drowned()))

    def drowned(self) -> Tensor:
        """The noisiest channels up to the share; with a given weight, all beyond.

        Of each group the least noisy one stays, as does what no trained weight reads.
        """
        noise = self.log_alpha.detach().where(self._known, torch.tensor(LIMITS[0]))
        zero = (noise > THRESHOLD) & (self._given is not None)
        count = round(self._share * int(self._known.sum()))
        zero[noise.argsort(descending=True)[:count]] = True
        return zero & self._known & ~self._channels.best(-noise)

    def state(self) -> dict[str, Tensor]:
        """Alpha as well."""
        held = {LOG_ALPHA: self.log_alpha.detach().clone()}
        moments = self._adam.state.get(self.log_alpha)
        if moments:
            held |= {MEAN: moments["exp_avg"], SQUARE: moments["exp_avg_sq"]}
        return {**super().state(), **held}

    def restore_(self, state: Mapping[str, Tensor]) -> None:
        """Alpha as well."""
        super().restore_(state)
        with torch.no_grad():
            self.log_alpha.copy_(state[LOG_ALPHA])
        if MEAN in state:
            self._adam.state[self.log_alpha] = {
                "step": torch.tensor(float(self._done)),
                "exp_avg": state[MEAN].clone(),
                "exp_avg_sq": state[SQUARE].clone(),
            }
