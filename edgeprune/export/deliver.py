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
from edgeprune.tasks import judged, scores_of

NOT_ASKED = Quantisation(kept=False, reason="the target does not list int8")
QUICK = Quantisation(
    kept=False, reason="not tried for a quick answer about fp32 (--effort quick)"
)
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
    """An exported file's metric on the validation split."""
    return judged(splits.task, OnnxModel(path), splits.validation)


def prove(item: Exported, splits: Splits) -> Parity:
    """Check that a file computes what its module computes, on real validation inputs.

    Raises:
        ParityError: it does not.
    """
    return prove_parity(item.model, item.path, splits.validation)


@dataclass(frozen=True)
class Scores:
    """A metric on the test split.

    Attributes:
        each: of each sample, shape (N,); None where it is no mean over samples.
    """

    value: float
    each: Tensor | None = None


class TestSplit:
    """What files make of the test split, which is read once for each."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits
        self._scores: dict[Path, Scores] = {}

    def accuracy(self, path: Path) -> float:
        """An exported file's metric."""
        return self._found(path).value

    def loss(self, before: Path, after: Path) -> AccuracyLoss:
        """Compare two files on the same samples."""
        count = self._splits.sizes[2]
        first, second = self._found(before), self._found(after)
        if first.each is None or second.each is None:
            return AccuracyLoss(first.value - second.value, None, count)
        lost = first.each - second.each
        error = float(lost.std(correction=0)) / math.sqrt(max(len(lost), 1))
        return AccuracyLoss(float(lost.mean()), error, len(lost))

    def _found(self, path: Path) -> Scores:
        if path not in self._scores:
            task, model, test = self._splits.task, OnnxModel(path), self._splits.test
            each = scores_of(task, model, test)
            if each is None:
                self._scores[path] = Scores(judged(task, model, test))
            else:
                value = float(each.mean()) if len(each) else 0.0
                self._scores[path] = Scores(value, each)
        return self._scores[path]


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
