"""Detection: boxes of classes in images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import batched_nms, box_convert
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

from edgeprune.errors import WorkloadError
from edgeprune.metric import Metric
from edgeprune.tasks.precision import MOST, Boxes, counted, precision_of
from edgeprune.tasks.structure import tensors_in
from edgeprune.tasks.task import TINY, Change, Task, shape_text

COLUMNS = 5  # of a target: class, x1, y1, x2, y2
NOTHING = -1  # the class of rows that only fill up
LEAST = 0.001  # scores below it are no boxes
SURE = 0.3  # a score that is enough for a box of the original to be a target
LEAST_SIDE = 1.0  # pixels, of a box that a border cuts
OVERLAP = 0.65  # of two boxes of a class, of which one goes
CANDIDATES = 1000  # boxes of an image among which that is looked for
END = 6  # columns where boxes are chosen already: corners, score, class
Found = Sequence[Boxes]
FORMS = (
    "(N, 4 + classes, boxes) or (N, boxes, 4 + classes) with middles, sizes and "
    "scores, (N, boxes, 5 + classes) with a score of there being anything before them, "
    "(N, boxes, 6) with corners, score and class, or 'boxes' (N, boxes, 4) and "
    "'scores' (N, boxes, classes)"
)


class Detection(Task):
    """Boxes of classes: targets (N, boxes, 5), rows of class, x1, y1, x2, y2 in pixels.

    Rows of the class -1 only fill up. Judged by mean average precision, as COCO's.
    Without a loss of your own (see `edgeprune.Task`) it learns from the original.

    Args:
        classes: how many there are; by default as many as outputs have scores of.
        decode: outputs to boxes, where yours have another form: a list with a dict of
            `boxes` (B, 4) as corners, `labels` (B,) and `scores` (B,) for each image.

    Example:
        >>> import edgeprune
        >>> edgeprune.Detection(classes=3).metric.name
        'mAP'
    """

    name = "detection"
    metric = Metric("mAP")
    learns = False
    safe_augmentations = ("crop", "flip")  # a box around a turned box is too large

    def __init__(
        self,
        classes: int | None = None,
        decode: Callable[[Any], Sequence[Mapping[str, Tensor]]] | None = None,
    ) -> None:
        self._classes, self._decode = classes, decode
        self._counted = classes  # the same in every batch, once it is known

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Outputs that are boxes, and targets in rows of five."""
        if targets.ndim != 3 or targets.shape[2] != COLUMNS:
            message = "Targets must be rows of class, x1, y1, x2, y2, of shape (N,"
            raise WorkloadError(f"{message} boxes, 5), found {shape_text(targets)}.")
        if self._decode is None and _parts(outputs, self._classes) is None:
            message = f"The model must return boxes: {FORMS}; found"
            raise WorkloadError(
                f"{message} {shape_text(outputs)}. Name the module whose outputs are "
                "to be in the file (--export-output), or give a task of your own."
            )
        count, most = self._count(outputs, targets), int(targets[..., 0].max())
        if most >= count:
            message = f"The model has scores of {count} classes, the boxes have class"
            raise WorkloadError(f"{message} {most}.")

    def boxes(self, outputs: Any) -> Found:
        """What was found in each image."""
        if self._decode is not None:
            return [
                Boxes(
                    *(one[key].detach().cpu() for key in ("boxes", "labels", "scores"))
                )
                for one in self._decode(outputs)
            ]
        found = _parts(outputs, self._classes)
        assert found is not None  # `check`
        corners, scores, chosen = (part.detach().cpu().float() for part in found)
        if not chosen.numel():
            chosen = scores.new_zeros(0)
        return [
            _chosen(corners[at], scores[at], chosen[at] if len(chosen) else None)
            for at in range(len(corners))
        ]

    def tally(self, outputs: Any, targets: Tensor) -> Tensor:
        """Hits and misses by class, overlap and score."""
        wanted = [_wanted(one) for one in targets.cpu()]
        return counted(self.boxes(outputs), wanted, self._count(outputs, targets))

    def value(self, sums: Tensor) -> float:
        """The mean average precision over overlaps of 0.5 to 0.95."""
        return precision_of(sums)

    def weights(self, outputs: Any) -> Tensor | None:
        """Boxes where the original is sure, in shares of their size, and all scores."""
        known = _parts(outputs, self._classes) if self._decode is None else None
        if known is None or not isinstance(outputs, Tensor) or known[2].numel():
            return None
        corners, scores, _ = known
        sure = scores.amax(2, keepdim=True).clamp(0, 1)
        across = _columns_first(outputs)
        found = torch.ones_like(outputs.transpose(1, 2) if across else outputs)
        found[..., :4] = sure / _sizes(corners)
        return found.transpose(1, 2) if across else found

    def distilled(self, outputs: Any, wanted: Any) -> Tensor:
        """Boxes where the original is sure, in shares of their size, and all scores."""
        found, known = (_parts(one, self._classes) for one in (outputs, wanted))
        if self._decode is not None or found is None or known is None:
            return super().distilled(outputs, wanted)
        (corners, scores, _), (right, sure, chosen) = found, known
        if chosen.numel():  # of no fixed place
            return super().distilled(outputs, wanted)
        weight = sure.amax(2, keepdim=True)
        off = (corners - right).abs() / _sizes(right)
        places = (weight * off).sum() / weight.sum().clamp_min(TINY)
        crossed = functional.binary_cross_entropy(
            scores.clamp(TINY, 1 - 1e-6), sure.clamp(0, 1), reduction="sum"
        )
        return places + crossed / sure.sum().clamp_min(1.0)

    def answers(self, outputs: Any) -> Tensor:
        """The boxes that the original is sure of."""
        found = self.boxes(outputs)
        rows = torch.zeros(len(found), MOST, COLUMNS)  # as many in every batch
        rows[..., 0] = NOTHING
        for row, one in zip(rows, found, strict=True):
            best = one.scores.argsort(descending=True)[:MOST]
            best = best[one.scores[best] > SURE]
            row[: len(best), 0] = one.classes[best].float()
            row[: len(best), 1:] = one.corners[best]
        return rows

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """Boxes move along, are cut at the border, and go where nothing is left."""
        size = (int(image.shape[-2]), int(image.shape[-1]))
        xyxy = BoundingBoxFormat.XYXY
        held = BoundingBoxes(target[:, 1:], format=xyxy, canvas_size=size)  # pyright: ignore[reportCallIssue]
        moved, found = change((image, held))
        corners = found.as_subclass(Tensor)
        left = (corners[:, 2:] - corners[:, :2]).amin(1) >= LEAST_SIDE
        known = torch.where(left, target[:, 0], float(NOTHING))
        return moved, torch.cat([known[:, None], corners], 1)

    def _count(self, outputs: Any, targets: Tensor) -> int:
        """How many classes are counted, the same in every batch."""
        if self._counted is None:
            found = _parts(outputs, None) if self._decode is None else None
            known = 0 if found is None or found[2].numel() else found[1].shape[2]
            self._counted = known or max(100, int(targets[..., 0].max()) + 1)
        return self._counted


def _parts(outputs: Any, classes: int | None) -> tuple[Tensor, Tensor, Tensor] | None:
    """Corners (N, B, 4), scores (N, B, classes) and, if chosen, classes (N, B)."""
    if isinstance(outputs, Mapping) and {"boxes", "scores"} <= set(outputs):
        scores = outputs["scores"]
        return outputs["boxes"], scores, scores.new_zeros(0)
    held = tensors_in(outputs)
    if len(held) == 2 and all(one.ndim == 3 for one in held) and held[0].shape[2] == 4:
        return held[0], held[1], held[1].new_zeros(0)
    if len(held) != 1 or held[0].ndim != 3:
        return None
    rows = held[0]
    if rows.shape[2] == END and classes is None:
        return rows[..., :4], rows[..., 4:5], rows[..., 5]
    if _columns_first(rows):
        rows = rows.transpose(1, 2)
    if rows.shape[2] <= 4:
        return None
    corners = box_convert(rows[..., :4], "cxcywh", "xyxy")
    if classes is not None and rows.shape[2] == COLUMNS + classes:
        return corners, rows[..., 4:5] * rows[..., 5:], rows.new_zeros(0)
    return corners, rows[..., 4:], rows.new_zeros(0)


def _columns_first(rows: Tensor) -> bool:
    """Whether boxes stand beside each other: there are more of them than columns."""
    return rows.shape[1] < rows.shape[2]


def _sizes(corners: Tensor) -> Tensor:
    """Of boxes (N, B, 4), in pixels, shape (N, B, 1)."""
    sides = corners[..., 2:] - corners[..., :2]
    return sides.abs().mean(2, keepdim=True).clamp_min(1.0)


def _chosen(corners: Tensor, scores: Tensor, classes: Tensor | None) -> Boxes:
    """The boxes of an image that no better one of their class overlaps."""
    best, numbers = scores.max(1)
    if classes is not None:
        keep = best > LEAST
        return Boxes(corners[keep], classes[keep].long(), best[keep])
    keep = (best > LEAST).nonzero()[:, 0]
    keep = keep[best[keep].argsort(descending=True)[:CANDIDATES]]
    keep = keep[batched_nms(corners[keep], best[keep], numbers[keep], OVERLAP)]
    return Boxes(corners[keep], numbers[keep], best[keep])


def _wanted(rows: Tensor) -> Boxes:
    there = rows[rows[:, 0] > NOTHING]
    return Boxes(there[:, 1:], there[:, 0].long(), torch.ones(len(there)))
