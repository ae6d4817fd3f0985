"""Mean average precision, counted such that it adds up over batches and processes.

In each image, boxes are matched as COCO does: by falling score, each to the free box of
its class that it overlaps most. Hits and misses are then counted in bins of scores, so
that no list of boxes is kept; within a bin they count as equal. (Lin et al., "Microsoft
COCO: Common objects in context", ECCV 2014; its evaluation: cocodataset.org.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

BINS = 1000  # of scores 0..1
OVERLAPS = tuple(0.5 + 0.05 * step for step in range(10))  # that make a hit
LEAST_OVERLAPS = np.array(OVERLAPS)
RECALLS = 101  # points at which precision is read
MOST = 100  # boxes of an image that count
WHOLE = 1 + 2 * len(OVERLAPS) * BINS  # counts of a class: boxes, hits, misses


@dataclass(frozen=True)
class Boxes:
    """What is in an image, or was found there.

    Attributes:
        corners: x1, y1, x2, y2 in pixels, shape (B, 4).
        classes: their numbers, shape (B,).
        scores: 0..1, shape (B,).
    """

    corners: Tensor
    classes: Tensor
    scores: Tensor


def counted(found: Sequence[Boxes], wanted: Sequence[Boxes], classes: int) -> Tensor:
    """What adds up to an average precision, shape (classes * WHOLE,)."""
    sums = np.zeros((classes, WHOLE))
    for one, other in zip(found, wanted, strict=True):
        order = one.scores.argsort(descending=True)[:MOST]
        for number in torch.cat([one.classes[order], other.classes]).unique().tolist():
            if 0 <= number < classes:
                kept = order[one.classes[order] == number]
                right = other.corners[other.classes == number]
                _count_(sums[number], one.corners[kept], one.scores[kept], right)
    return torch.from_numpy(sums.reshape(-1))


def precision_of(sums: Tensor, overlaps: Sequence[int] | None = None) -> float:
    """The mean over classes that are there, and overlaps, of the average precision.

    Args:
        overlaps: numbers of those that count; all by default.
    """
    held = sums.numpy().reshape(-1, WHOLE)
    there = held[held[:, 0] > 0]
    if not len(there):
        return 0.0
    shape = (len(there), 2, len(OVERLAPS), BINS)
    hits, misses = there[:, 1:].reshape(shape).transpose(1, 0, 2, 3)
    found = [
        _area(hits[at, level], misses[at, level], there[at, 0])
        for at in range(len(there))
        for level in (range(len(OVERLAPS)) if overlaps is None else overlaps)
    ]
    return float(np.mean(found))


def _count_(
    row: NDArray[np.float64], corners: Tensor, scores: Tensor, right: Tensor
) -> None:
    """Add the boxes of one class in one image."""
    row[0] += len(right)
    if not len(corners):
        return
    hits, misses = row[1:].reshape(2, len(OVERLAPS), BINS)
    bins = (scores.clamp(0, 1) * (BINS - 1)).round().long().numpy()
    shared = box_iou(corners, right).numpy() if len(right) else np.zeros((len(bins), 0))
    able = shared.max(1, initial=0.0) >= OVERLAPS[0]
    misses += np.bincount(bins[~able], minlength=BINS)
    levels = np.arange(len(OVERLAPS))
    free = np.ones((len(OVERLAPS), len(right)), bool)
    for at in able.nonzero()[0]:  # by falling score
        fits = np.where(free, shared[at], 0.0)
        best = fits.argmax(1)
        hit = fits[levels, best] >= LEAST_OVERLAPS
        free[levels[hit], best[hit]] = False
        hits[hit, bins[at]] += 1
        misses[~hit, bins[at]] += 1


def _area(
    hits: NDArray[np.float64], misses: NDArray[np.float64], count: float
) -> float:
    """The mean of the best precision at or above each recall."""
    right, wrong = (part[::-1].cumsum() for part in (hits, misses))
    named = right + wrong > 0
    precision = right[named] / (right + wrong)[named]
    recall = right[named] / count
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, RECALLS), side="left")
    return float(np.append(best, 0.0)[np.minimum(at, len(best))].mean())
