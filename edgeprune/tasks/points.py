"""Keypoints: places of joints, corners of eyes and the like."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.tv_tensors import KeyPoints

from edgeprune.errors import WorkloadError
from edgeprune.metric import Metric
from edgeprune.tasks.task import Change, Task, mean_of, shape_text

COLUMNS = 3  # of a target: x, y, whether it is seen
MAPS = 4  # axes of heatmaps
NEAR = 0.1  # of the size of what the points are on
SPREAD = 1.5  # cells, of the heat around a point


class Keypoints(Task):
    """Places in an image: targets (N, points, 3), x and y in pixels, and whether seen.

    Outputs are places, (N, points, 2 or more), or heatmaps, (N, points, H, W). Judged
    by the share of seen points that are found within a tenth of the longer side of what
    they span. (PCK; Yang and Ramanan, "Articulated human detection with flexible
    mixtures of parts", TPAMI 2013.)

    Args:
        stride: pixels of a cell of heatmaps.

    Example:
        >>> import edgeprune
        >>> edgeprune.Keypoints(stride=8).metric.name
        'PCK'
    """

    name = "keypoints"
    metric = Metric("PCK")
    safe_augmentations = ("crop", "rotate")  # a mirrored left eye is a right one

    def __init__(self, stride: float = 4.0) -> None:
        self._stride = stride

    def check(self, outputs: Any, targets: Tensor) -> None:
        """A place or a map for each point."""
        if targets.ndim != 3 or targets.shape[2] != COLUMNS:
            message = "Targets must be rows of x, y, seen, of shape (N, points, 3)"
            raise WorkloadError(f"{message}, found {shape_text(targets)}.")
        points = targets.shape[1]
        fits = isinstance(outputs, Tensor) and outputs.ndim in (3, MAPS)
        if not fits or outputs.shape[1] != points or outputs.shape[-1] < 2:
            message = f"The model must return places (N, {points}, 2) or heatmaps (N,"
            raise WorkloadError(
                f"{message} {points}, H, W), found {shape_text(outputs)}."
            )

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Those that are found, and all that are seen."""
        wanted = targets.cpu()
        seen = wanted[..., 2] > 0
        off = (self._places(outputs.detach().cpu()) - wanted[..., :2]).norm(dim=2)
        return mean_of((off <= NEAR * _spans(wanted))[seen].double())

    def value(self, sums: Tensor) -> float:
        """The share that is found."""
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def answers(self, outputs: Tensor) -> Tensor:
        """Where the points are, all of them seen."""
        places = self._places(outputs.detach()).float()
        return torch.cat([places, torch.ones_like(places[..., :1])], 2)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """How far places are off, in shares of what they span; of maps, the heat."""
        del smoothing
        seen = (targets[..., 2] > 0).float()
        if outputs.ndim == MAPS:
            heat = self._heat(outputs, targets)
            weight = (1 + 20 * heat) * seen[..., None, None]
            return (weight * (outputs - heat).square()).sum() / weight.sum().clamp_min(
                1
            )
        size = _spans(targets)[..., None]
        off = (outputs[..., :2] - targets[..., :2]) / size
        each = functional.smooth_l1_loss(off, torch.zeros_like(off), reduction="none")
        return (each.sum(2) * seen).sum() / seen.sum().clamp_min(1)

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """Points move along; those that leave the image are not seen."""
        size = (int(image.shape[-2]), int(image.shape[-1]))
        held = KeyPoints(target[:, :2], canvas_size=size)  # pyright: ignore[reportCallIssue]
        moved, found = change((image, held))
        places = found.as_subclass(Tensor)
        within = ((places >= 0) & (places < places.new_tensor(size[::-1]))).all(1)
        seen = torch.where(within, target[:, 2], 0.0)
        return moved, torch.cat([places, seen[:, None]], 1)

    def _places(self, outputs: Tensor) -> Tensor:
        if outputs.ndim != MAPS:
            return outputs[..., :2]
        best = outputs.flatten(2).argmax(2)
        width = outputs.shape[3]
        cells = torch.stack([best % width, best // width], 2)
        return (cells + 0.5) * self._stride

    def _heat(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What maps should be."""
        cells = targets[..., :2] / self._stride - 0.5
        x, y = (
            torch.arange(size, device=outputs.device) - cells[..., at, None]
            for at, size in ((0, outputs.shape[3]), (1, outputs.shape[2]))
        )
        off = x.square()[..., None, :] + y.square()[..., None]
        return (-off / (2 * SPREAD**2)).exp()


def _spans(targets: Tensor) -> Tensor:
    """The longer side of what the seen points of each sample span, shape (N, 1)."""
    seen = targets[..., 2:] > 0
    low = torch.where(seen, targets[..., :2], torch.inf).amin(1)
    high = torch.where(seen, targets[..., :2], -torch.inf).amax(1)
    return (high - low).amax(1, keepdim=True).nan_to_num(0.0, 0.0, 0.0).clamp_min(1.0)
