"""The files that the device gets: proved to be right, and how accurate they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from edgeprune.data import Splits
from edgeprune.export.parity import compare_with_file, prove_parity
from edgeprune.export.session import OnnxModel
from edgeprune.measure.benchmark import Exported
from edgeprune.records import AccuracyLoss, ModelFigures, Parity, Quantisation
from edgeprune.workload import accuracy, right_answers, share

NOT_ASKED = Quantisation(kept=False, reason="the target does not list int8")
NOT_KNOWN = Quantisation(
    kept=False, reason="how fast it is there only the device can say"
)


@dataclass(frozen=True)
class Int8:
    """The outcome of quantisation."""

    verdict: Quantisation
    figures: ModelFigures | None = None
    parity: Parity | None = None
    path: Path | None = None


def validation_accuracy(path: Path, splits: Splits) -> float:
    """An exported file's accuracy on the validation split, 0..1."""
    return accuracy(OnnxModel(path), splits.validation)


def prove(item: Exported, splits: Splits) -> Parity:
    """Check that a file computes what its module computes, on real validation inputs.

    Raises:
        ParityError: it does not.
    """
    return prove_parity(item.model, item.path, splits.validation)


class TestSplit:
    """What files get right of the test split, which is read once for each."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits
        self._right: dict[Path, Tensor] = {}

    def accuracy(self, path: Path) -> float:
        """An exported file's accuracy, 0..1."""
        return share(self._answers(path))

    def loss(self, before: Path, after: Path) -> AccuracyLoss:
        """Compare two files on the same samples."""
        lost = self._answers(before).double() - self._answers(after).double()
        count = max(len(lost), 1)
        error = float(lost.std(correction=0)) / math.sqrt(count)
        return AccuracyLoss(float(lost.mean()), error, len(lost))

    def _answers(self, path: Path) -> Tensor:
        if path not in self._right:
            self._right[path] = right_answers(OnnxModel(path), self._splits.test)
        return self._right[path]


def kept_int8(
    small: Exported,
    figures: ModelFigures,
    verdict: Quantisation,
    splits: Splits,
    tests: TestSplit,
) -> Int8:
    """An int8 file that is delivered: read the test split, compare its outputs."""
    tested = replace(figures, test_accuracy=tests.accuracy(small.path))
    parity = compare_with_file(small.model, small.path, splits.validation)
    return Int8(verdict, tested, parity, small.path)
