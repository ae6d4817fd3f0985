"""Tasks whose outputs are scores of classes: of samples, of labels, of pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.tv_tensors import Mask

from edgeprune.errors import WorkloadError
from edgeprune.metric import Metric
from edgeprune.settings import ALL_AUGMENTATIONS
from edgeprune.tasks.task import Change, Task, mean_of, same_shape, shape_text

TEMPERATURE = 4.0
IGNORED = 255  # the class of pixels that nobody has labelled, as is usual


class Classification(Task):
    """One class of each sample: outputs (N, classes), targets (N,)."""

    name = "classification"
    safe_augmentations = ALL_AUGMENTATIONS

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Scores of all classes that the labels name, for each sample."""
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            message = "The model must return class scores of shape (N, classes), found"
            raise WorkloadError(f"{message} {shape_text(outputs)}.")
        if targets.is_floating_point() or targets.ndim != 1:
            found = f"{targets.dtype} {tuple(targets.shape)}".removeprefix("torch.")
            message = "Labels must be integer class numbers of shape (N,), found"
            raise WorkloadError(f"{message} {found}: see --task.")
        if len(targets) and int(targets.max()) >= outputs.shape[1]:
            message = (
                f"The model has {outputs.shape[1]} outputs, the data have label "
                f"{int(targets.max())}: number the classes from 0 without gaps, or set "
                "--num-classes."
            )
            raise WorkloadError(message)
        if len(outputs) != len(targets):
            message = f"The model returns {len(outputs)} rows for {len(targets)}"
            raise WorkloadError(f"{message} samples.")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Those that are right, and all."""
        return mean_of(self.each(outputs, targets))

    def value(self, sums: Tensor) -> float:
        """The share that is right."""
        return float(sums[0] / sums[1])

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest output is at the label."""
        return (outputs.argmax(1) == targets.to(outputs.device)).double().cpu()

    def answers(self, outputs: Tensor) -> Tensor:
        """The class of the largest output."""
        return outputs.argmax(1)

    def loss(
        self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0
    ) -> Tensor | None:
        """Cross-entropy."""
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def distilled(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """T^2 * KL to the teacher's softened outputs; Hinton et al., 2015."""
        return TEMPERATURE**2 * functional.kl_div(
            functional.log_softmax(outputs / TEMPERATURE, 1),
            functional.log_softmax(wanted / TEMPERATURE, 1),
            log_target=True,
            reduction="batchmean",
        )


class Sequence(Task):
    """A class of each step: outputs (N, steps, classes), targets (N, steps).

    Steps of the class -100 or 255 are nobody's.
    """

    name = "sequence"

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Scores of all classes at each step."""
        fits = isinstance(outputs, Tensor) and outputs.ndim == 3
        if not fits or outputs.shape[:2] != targets.shape:
            shape = f"(N, {targets.shape[-1]}, classes)"
            message = f"The model must return scores of shape {shape} for each step"
            raise WorkloadError(f"{message}, found {shape_text(outputs)}.")
        known = targets[is_labelled(targets)]
        if known.numel() and int(known.max()) >= outputs.shape[2]:
            message = f"The model has scores of {outputs.shape[2]} classes, the targets"
            raise WorkloadError(f"{message} have class {int(known.max())}.")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Steps that are right, and all."""
        wanted = targets.cpu()
        right = outputs.argmax(2).cpu() == wanted
        return mean_of(right[is_labelled(wanted)].double())

    def value(self, sums: Tensor) -> float:
        """The share that is right."""
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def answers(self, outputs: Tensor) -> Tensor:
        """The class of the largest output of each step."""
        return outputs.argmax(2)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each step."""
        wanted = torch.where(is_labelled(targets), targets.long(), IGNORED)
        return functional.cross_entropy(
            outputs.transpose(1, 2),
            wanted,
            ignore_index=IGNORED,
            label_smoothing=smoothing,
        )


def is_labelled(targets: Tensor) -> Tensor:
    """Where somebody has labelled."""
    return (targets >= 0) & (targets != IGNORED)


class Multilabel(Task):
    """Any number of labels of each sample: outputs and targets (N, labels).

    Judged by F1 over all labels (micro), which does not count what both leave out.
    """

    name = "multilabel"
    metric = Metric("F1")
    safe_augmentations = ALL_AUGMENTATIONS

    def check(self, outputs: Any, targets: Tensor) -> None:
        """As many scores as there are labels."""
        same_shape(outputs, targets, "scores")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Hits, what was claimed and what was to be."""
        claimed, wanted = outputs.cpu() > 0, targets.cpu() > 0.5
        hits = (claimed & wanted).sum()
        return torch.stack([hits, claimed.sum(), wanted.sum()]).double()

    def value(self, sums: Tensor) -> float:
        """Twice the hits over what was claimed and what was to be."""
        hits, claimed, wanted = sums.tolist()
        return 2 * hits / (claimed + wanted) if claimed + wanted else 1.0

    def answers(self, outputs: Tensor) -> Tensor:
        """The labels whose outputs are above 0."""
        return (outputs > 0).float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy of each label."""
        smooth = targets.float() * (1 - smoothing) + 0.5 * smoothing
        return functional.binary_cross_entropy_with_logits(outputs, smooth)


class Segmentation(Task):
    """A class of each pixel: outputs (N, classes, ...), targets (N, ...), (N, 1, ...).

    Outputs of a coarser grid are brought to that of the targets. Pixels of the class
    255, or of one below 0, are nobody's. Judged by the mean intersection over union of
    the classes that are there.
    """

    name = "segmentation"
    metric = Metric("mIoU")
    safe_augmentations = ALL_AUGMENTATIONS

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Scores of all classes, at places of the targets."""
        masks = _masks(outputs, targets) if isinstance(outputs, Tensor) else targets
        if not isinstance(outputs, Tensor) or not outputs.ndim == masks.ndim + 1 > 2:
            shape = ", ".join(["N", "classes", *map(str, masks.shape[1:])])
            message = f"The model must return class scores of shape ({shape}) for"
            raise WorkloadError(f"{message} each pixel, found {shape_text(outputs)}.")
        if targets.is_floating_point():
            message = "Masks must be whole numbers of shape (N, H, W), found"
            raise WorkloadError(f"{message} {shape_text(targets)} of {targets.dtype}.")
        known = masks[is_labelled(masks)]
        if known.numel() and int(known.max()) >= outputs.shape[1]:
            count, advice = outputs.shape[1], ""
            if count == 1:
                advice = ": give it two, or targets of its outputs' shape, 0.0 and 1.0"
            message = f"The model has scores of {count} classes, the masks"
            raise WorkloadError(f"{message} have class {int(known.max())}{advice}.")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How often each class was taken for each, shape (classes^2,)."""
        count = outputs.shape[1]
        masks = _masks(outputs, targets)
        found = _at(outputs, masks).argmax(1).cpu().flatten()
        wanted = masks.cpu().flatten().long()
        known = is_labelled(wanted)
        pairs = wanted[known] * count + found[known]
        return torch.bincount(pairs, minlength=count**2).double()

    def value(self, sums: Tensor) -> float:
        """The mean over classes of what both name over what either names."""
        confusion = sums.reshape(int(len(sums) ** 0.5), -1)
        both = confusion.diagonal()
        either = confusion.sum(0) + confusion.sum(1) - both
        there = confusion.sum(1) > 0
        return float((both[there] / either[there]).mean()) if there.any() else 0.0

    def answers(self, outputs: Tensor) -> Tensor:
        """The class of the largest output of each pixel."""
        return outputs.argmax(1)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each pixel."""
        masks = _masks(outputs, targets)
        return functional.cross_entropy(
            _at(outputs, masks),
            torch.where(is_labelled(masks), masks.long(), IGNORED),
            ignore_index=IGNORED,
            label_smoothing=smoothing,
        )

    def changed(
        self, image: Tensor, target: Tensor, change: Change
    ) -> tuple[Tensor, Tensor]:
        """The mask moves along; what comes in from beyond a border is nobody's."""
        moved, mask = change((image, Mask(target)))
        return moved, mask.as_subclass(Tensor)


def _masks(outputs: Tensor, targets: Tensor) -> Tensor:
    """Masks without the axis of one channel that they may have."""
    one = targets.ndim == outputs.ndim and targets.shape[1] == 1
    return targets.squeeze(1) if one else targets


def _at(outputs: Tensor, targets: Tensor) -> Tensor:
    """Scores at the places of the targets."""
    if outputs.shape[2:] == targets.shape[1:]:
        return outputs
    modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
    return functional.interpolate(
        outputs, tuple(targets.shape[1:]), mode=modes[targets.ndim - 1]
    )
