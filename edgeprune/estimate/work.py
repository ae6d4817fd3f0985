"""The work of a network by its kinds: what its time on any device is a sum of."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.devices.transports.fake import Operator, operators_of
from edgeprune.onnx_files.operators import onnx_operator

Floats = npt.NDArray[np.float64]
# Multiplications of convolutions with one position, with several, and in groups; the
# weights of all layers, which have to be fetched; values that are made; operators.
FUSED = ("Relu", "Clip")  # into what stands before them
KINDS = ("pointwise", "dense", "grouped", "weights", "values", "operators")


def work(**amounts: float) -> Floats:
    """Amounts by kind, shape (kinds,); a kind that is not named has none."""
    return np.array([amounts.get(kind, 0.0) for kind in KINDS])


def work_of(path: Path, batch: int = 1) -> Floats:
    """The work of an ONNX file, shape (kinds,).

    Args:
        batch: length of an axis that the file leaves open.
    """
    return np.sum(
        [work_of_operator(item) for item in operators_of(path, batch)], axis=0
    )


def work_of_operator(item: Operator) -> Floats:
    """The work of one operator of an ONNX file."""
    made = float(math.prod(item.made))
    if item.kind in FUSED or onnx_operator(item.kind).free:
        return work()
    if not item.macs:
        return work(values=made, operators=1.0)
    macs, weights = float(item.macs), float(item.weights)
    return work(**{kind_of(item): macs}, weights=weights, values=made, operators=1.0)


def kind_of(item: Operator) -> str:
    """The kind of an operator's multiplications; a linear layer has one position."""
    if item.groups > 1:
        return "grouped"
    return "dense" if item.kernel > 1 else "pointwise"
