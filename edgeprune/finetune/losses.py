"""Losses: errors against labels, and differences from a teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

TEMPERATURE = 4.0
DISTILLED_SHARE = 0.7  # of the loss; the rest is cross-entropy with the labels


def loss_of(
    outputs: Tensor, y: Tensor, soft: Tensor | None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, mixed with T^2 * KL to the teacher's softened outputs.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015. Labels are
    smoothed only where there is no teacher: it tells how alike classes are, which
    smoothing rubs out; Mueller et al., "When Does Label Smoothing Help?", 2019.

    Args:
        outputs: shape (N, classes), as is `soft`.
        smoothing: share of each label that is spread over all classes.
    """
    if soft is None:
        return functional.cross_entropy(outputs, y, label_smoothing=smoothing)
    hard = functional.cross_entropy(outputs, y)
    divergence = functional.kl_div(
        functional.log_softmax(outputs / TEMPERATURE, 1),
        functional.log_softmax(soft / TEMPERATURE, 1),
        log_target=True,
        reduction="batchmean",
    )
    share = DISTILLED_SHARE
    return (1 - share) * hard + share * TEMPERATURE**2 * divergence


def masked_mean_square(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean square difference where a mask is.

    Args:
        found, wanted: shape (N, channels, H, W).
        mask: shape (N, 1, H, W).
    """
    squares = (found - wanted).square() * mask
    return squares.sum() / (mask.sum() * found.shape[1]).clamp_min(1)
