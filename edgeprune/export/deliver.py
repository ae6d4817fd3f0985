"""The files that the device gets: proved to be right, and how accurate they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.data import Splits
from edgeprune.export.parity import compare_with_file, prove_parity
from edgeprune.export.session import OnnxModel
from edgeprune.measure.benchmark import Exported
from edgeprune.records import ModelFigures, Parity, Quantisation
from edgeprune.workload import accuracy

NOT_ASKED = Quantisation(kept=False, reason="the target does not list int8")


@dataclass(frozen=True)
class Int8:
    """The outcome of quantisation."""

    verdict: Quantisation
    figures: ModelFigures | None = None
    parity: Parity | None = None


def validation_accuracy(path: Path, splits: Splits) -> float:
    """An exported file's accuracy on the validation split, 0..1."""
    return accuracy(OnnxModel(path), splits.validation)


def prove(item: Exported, splits: Splits) -> Parity:
    """Check that a file computes what its module computes, on real validation inputs.

    Raises:
        ParityError: it does not.
    """
    return prove_parity(item.model, item.path, splits.validation)


def tested_accuracy(path: Path, splits: Splits) -> float:
    """An exported file's accuracy on the test split, 0..1; to be read once."""
    return accuracy(OnnxModel(path), splits.test)


def kept_int8(
    small: Exported, figures: ModelFigures, verdict: Quantisation, splits: Splits
) -> Int8:
    """An int8 file that is delivered: read the test split, compare its outputs."""
    tested = replace(figures, test_accuracy=tested_accuracy(small.path, splits))
    parity = compare_with_file(small.model, small.path, splits.validation)
    return Int8(verdict, tested, parity)
