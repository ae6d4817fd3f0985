"""Tasks whose outputs are values: pictures, vectors, numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors

from edgeprune.metric import Metric
from edgeprune.tasks.task import TINY, Change, Task, mean_of, same_shape

BEST_DB = 100.0  # where two pictures are the same
GOOD_DB = 40.0  # where nobody sees that they are not


class Image(Task):
    """A picture of each sample: outputs and targets (N, C, H, W), values 0..1.

    Judged by the mean of the peak signal-to-noise ratios.
    """

    name = "image"
    metric = Metric("PSNR", "dB", usual_drop=0.5, in_points=False)
    safe_augmentations = ("flip",)  # the target may be of another size

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

    def answered(self) -> Task:
        """The original has `BEST_DB` then, of which more than 0.5 dB may go."""
        found = super().answered()
        found.metric = replace(self.metric, usual_drop=BEST_DB - GOOD_DB)
        return found

    def answers(self, outputs: Tensor) -> Tensor:
        """The picture itself."""
        return outputs.float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean square error."""
        del smoothing
        return functional.mse_loss(outputs, targets.float())

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """Both pictures are changed alike."""
        moved, wanted = change((image, tv_tensors.Image(target)))
        return moved, wanted.as_subclass(Tensor).reshape(target.shape)


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

    def answers(self, outputs: Tensor) -> Tensor:
        """The vectors themselves."""
        return outputs.float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """1 - cosine."""
        del smoothing
        found = functional.cosine_similarity(outputs.flatten(1), targets.flatten(1))
        return 1 - found.mean()


class Regression(Task):
    """Numbers of each sample: outputs and targets (N,) or (N, K).

    Judged by the share of the targets' variance that is explained (R^2), mean over the
    numbers of a sample. Of targets that do not vary it is 1 where all outputs are
    right, and 0 otherwise.
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
        variance = squared - once.square() / sums[-1]
        shares = 1 - off / variance.clamp_min(TINY)
        varied = variance > TINY * squared
        return float(torch.where(varied, shares, (off <= TINY).double()).mean())

    def answers(self, outputs: Tensor) -> Tensor:
        """The numbers themselves."""
        return outputs.float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean square error."""
        del smoothing
        return functional.mse_loss(outputs.reshape(targets.shape), targets.float())
