"""Tasks whose outputs are values: pictures, vectors, numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.metric import Metric
from edgeprune.tasks.task import TINY, Task, mean_of, same_shape

BEST_DB = 100.0  # where two pictures are the same


class Image(Task):
    """A picture of each sample: outputs and targets (N, C, H, W), values 0..1.

    Judged by the mean of the peak signal-to-noise ratios.
    """

    name = "image"
    metric = Metric("PSNR", "dB", usual_drop=0.5, in_points=False)

    def check(self, outputs: Any, targets: Tensor) -> None:
        """A picture of the same size."""
        same_shape(outputs, targets, "images")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the ratios, and how many there are."""
        return mean_of(self.each(outputs, targets))

    def value(self, sums: Tensor) -> float:
        """Their mean."""
        return float(sums[0] / sums[1])

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """In dB, of each picture."""
        off = (outputs.cpu().double() - targets.cpu().double()).square()
        mean = off.flatten(1).mean(1)
        return (-10 * mean.clamp_min(TINY).log10()).clamp_max(BEST_DB)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean square error."""
        del smoothing
        return functional.mse_loss(outputs, targets.float())


class Embedding(Task):
    """A vector of each sample whose direction counts: outputs and targets (N, D)."""

    name = "embedding"
    metric = Metric("cosine", "")

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Vectors of the same length."""
        same_shape(outputs, targets, "vectors")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the cosines, and how many there are."""
        return mean_of(self.each(outputs, targets))

    def value(self, sums: Tensor) -> float:
        """Their mean."""
        return float(sums[0] / sums[1])

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cosine between each vector and the one that it should be."""
        found, wanted = (item.cpu().double().flatten(1) for item in (outputs, targets))
        return functional.cosine_similarity(found, wanted)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """1 - cosine."""
        del smoothing
        found = functional.cosine_similarity(outputs.flatten(1), targets.flatten(1))
        return 1 - found.mean()


class Regression(Task):
    """Numbers of each sample: outputs and targets (N,) or (N, K).

    Judged by the share of the targets' variance that is explained (R^2), mean over the
    numbers of a sample.
    """

    name = "regression"
    metric = Metric("R2", "")

    def check(self, outputs: Any, targets: Tensor) -> None:
        """As many numbers as there are targets."""
        if isinstance(outputs, Tensor) and outputs.numel() == targets.numel():
            outputs = outputs.reshape(targets.shape)
        same_shape(outputs, targets, "numbers")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared errors, targets and their squares by number; how many samples."""
        wanted = targets.cpu().double().reshape(len(targets), -1)
        found = outputs.cpu().double().reshape(wanted.shape)
        sums = [(found - wanted).square().sum(0), wanted.sum(0), wanted.square().sum(0)]
        return torch.cat([*sums, wanted.new_tensor([len(wanted)])])

    def value(self, sums: Tensor) -> float:
        """The mean of the shares."""
        off, once, squared = sums[:-1].reshape(3, -1)
        variance = (squared - once.square() / sums[-1]).clamp_min(TINY)
        return float((1 - off / variance).mean())

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean square error."""
        del smoothing
        return functional.mse_loss(outputs.reshape(targets.shape), targets.float())
