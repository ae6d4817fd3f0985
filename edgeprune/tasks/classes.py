"""Tasks whose outputs are scores of classes: of samples, of labels, of pixels."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.tv_tensors import Mask

from edgeprune.errors import WorkloadError
from edgeprune.metric import Metric
from edgeprune.settings import ALL_AUGMENTATIONS
from edgeprune.tasks.scores import ClassScores
from edgeprune.tasks.task import Change, mean_of, same_shape, shape_text

TEMPERATURE = 4.0
IGNORED = 255  # the class of pixels that nobody has labelled, as is usual


class Classification(ClassScores):
    """One class of each sample: outputs (N, classes), targets (N,).

    Of two classes one score is enough: outputs (N, 1) or (N,).
    """

    name = "classification"
    safe_augmentations = ALL_AUGMENTATIONS

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Scores of all classes that the labels name, for each sample."""
        if not isinstance(outputs, Tensor) or outputs.ndim not in (1, 2):
            message = "The model must return class scores of shape (N, classes), found"
            raise WorkloadError(f"{message} {shape_text(outputs)}.")
        count = outputs.shape[1] if outputs.ndim == 2 else 1
        real = targets.is_floating_point()  # as losses of one score want them
        numbers = are_whole(targets) if count == 1 else not real
        if not numbers or targets.numel() != len(targets):
            found = f"{targets.dtype} {tuple(targets.shape)}".removeprefix("torch.")
            message = "Labels must be integer class numbers of shape (N,), found"
            raise WorkloadError(f"{message} {found}: see --task.")
        if len(targets) and int(targets.max()) >= max(count, 2):
            message = (
                f"The model has {count} outputs, the data have label "
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
        wanted = targets.to(outputs.device).flatten()
        return (self.answers(outputs) == wanted).double().cpu()

    def answers(self, outputs: Tensor) -> Tensor:
        """The class of the largest score."""
        return self.scores(outputs).argmax(1)

    def adapted(self, outputs: Tensor) -> Self:
        """As of scores that have their axis."""
        return super().adapted(_with_axis(outputs))

    def scores(self, outputs: Tensor) -> Tensor:
        """As of scores that have their axis."""
        return super().scores(_with_axis(outputs))

    def loss(
        self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0
    ) -> Tensor | None:
        """Cross-entropy."""
        scores, wanted = self.scores(outputs), targets.flatten().long()
        return functional.cross_entropy(scores, wanted, label_smoothing=smoothing)

    def distilled(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """T^2 * KL to the teacher's softened outputs; Hinton et al., 2015."""
        return TEMPERATURE**2 * functional.kl_div(
            functional.log_softmax(self.scores(outputs) / TEMPERATURE, 1),
            functional.log_softmax(self.scores(wanted) / TEMPERATURE, 1),
            log_target=True,
            reduction="batchmean",
        )


class Sequence(ClassScores):
    """A class of each step: outputs (N, steps, classes), targets (N, steps).

    Steps of the class -100 or 255 are nobody's.
    """

    name = "sequence"
    axis = 2

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Scores of all classes at each step."""
        fits = isinstance(outputs, Tensor) and outputs.ndim == 3
        if not fits or outputs.shape[:2] != targets.shape:
            shape = f"(N, {targets.shape[-1]}, classes)"
            message = f"The model must return scores of shape {shape} for each step"
            raise WorkloadError(f"{message}, found {shape_text(outputs)}.")
        known = targets[is_labelled(targets)]
        if known.numel() and int(known.max()) >= max(outputs.shape[2], 2):
            message = f"The model has scores of {outputs.shape[2]} classes, the targets"
            raise WorkloadError(f"{message} have class {int(known.max())}.")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Steps that are right, and all."""
        wanted = targets.cpu()
        right = self.answers(outputs).cpu() == wanted
        return mean_of(right[is_labelled(wanted)].double())

    def value(self, sums: Tensor) -> float:
        """The share that is right."""
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def answers(self, outputs: Tensor) -> Tensor:
        """The class of the largest score of each step."""
        return self.scores(outputs).argmax(2)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each step."""
        wanted = torch.where(is_labelled(targets), targets.long(), IGNORED)
        return functional.cross_entropy(
            self.scores(outputs).transpose(1, 2),
            wanted,
            ignore_index=IGNORED,
            label_smoothing=smoothing,
        )


def _with_axis(outputs: Tensor) -> Tensor:
    """Scores with an axis of classes, where one score of each sample has none."""
    return outputs[:, None] if outputs.ndim == 1 else outputs


def are_whole(targets: Tensor) -> bool:
    """Whether targets are whole numbers, whatever they are kept as."""
    return not targets.is_floating_point() or bool((targets == targets.round()).all())


def is_labelled(targets: Tensor) -> Tensor:
    """Where somebody has labelled."""
    return (targets >= 0) & (targets != IGNORED)


class Multilabel(ClassScores):
    """Any number of labels of each sample: outputs and targets (N, labels).

    Judged by F1 over all labels (micro), which does not count what both leave out.
    """

    name = "multilabel"
    metric = Metric("F1")
    exclusive = False
    safe_augmentations = ALL_AUGMENTATIONS

    def check(self, outputs: Any, targets: Tensor) -> None:
        """As many scores as there are labels."""
        same_shape(outputs, targets, "scores")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Hits, what was claimed and what was to be."""
        claimed, wanted = self.answers(outputs).cpu() > 0, targets.cpu() > 0.5
        hits = (claimed & wanted).sum()
        return torch.stack([hits, claimed.sum(), wanted.sum()]).double()

    def value(self, sums: Tensor) -> float:
        """Twice the hits over what was claimed and what was to be."""
        hits, claimed, wanted = sums.tolist()
        return 2 * hits / (claimed + wanted) if claimed + wanted else 1.0

    def answers(self, outputs: Tensor) -> Tensor:
        """The labels whose scores are above 0, their probabilities above a half."""
        return (self.scores(outputs) > 0).float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy of each label."""
        smooth = targets.float() * (1 - smoothing) + 0.5 * smoothing
        scores = self.scores(outputs)
        return functional.binary_cross_entropy_with_logits(scores, smooth)


class Segmentation(ClassScores):
    """A class of each pixel: outputs (N, classes, ...), targets (N, ...), (N, 1, ...).

    Outputs of a coarser grid are brought to that of the targets. Pixels of the class
    255, or of one below 0, are nobody's. Of two classes one score is enough: outputs
    (N, 1, ...). Judged by the mean intersection over union of the classes that are
    there.
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
        if not are_whole(targets):
            message = "Masks must be whole numbers of shape (N, H, W), found"
            raise WorkloadError(f"{message} {shape_text(targets)} of {targets.dtype}.")
        known = masks[is_labelled(masks)]
        if known.numel() and int(known.max()) >= max(outputs.shape[1], 2):
            message = f"The model has scores of {outputs.shape[1]} classes, the masks"
            raise WorkloadError(f"{message} have class {int(known.max())}.")

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How often each class was taken for each, shape (classes^2,)."""
        masks = _masks(outputs, targets)
        scores = self.scores(_at(outputs, masks))
        count, found = scores.shape[1], scores.argmax(1).cpu().flatten()
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
        """The class of the largest score of each pixel."""
        return self.scores(outputs).argmax(1)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy of each pixel."""
        masks = _masks(outputs, targets)
        return functional.cross_entropy(
            self.scores(_at(outputs, masks)),
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
