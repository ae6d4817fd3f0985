"""The files that the device gets: proved to be right, int8 where it pays or counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.data import Splits
from edgeprune.errors import ExportError
from edgeprune.export.parity import compare_with_file, prove_parity
from edgeprune.export.session import OnnxModel
from edgeprune.measure.bench import Bench, Exported
from edgeprune.records import ModelFigures, Parity, Quantisation, Timing
from edgeprune.workload import accuracy

NOT_ASKED = Quantisation(kept=False, reason="the target does not list int8")


@dataclass(frozen=True)
class Int8:
    """What quantisation gave."""

    verdict: Quantisation
    figures: ModelFigures | None = None
    parity: Parity | None = None


def validation_accuracy(path: Path, splits: Splits) -> float:
    """Of the exported file, on the validation split, 0..1."""
    return accuracy(OnnxModel(path), splits.validation)


def prove(item: Exported, splits: Splits) -> Parity:
    """The file computes what the module computes, on real validation inputs.

    Raises:
        ParityError: it does not.
    """
    return prove_parity(item.model, item.path, splits.validation)


def tested_accuracy(path: Path, splits: Splits) -> float:
    """Of the exported file, on the test split, 0..1; to be read once."""
    return accuracy(OnnxModel(path), splits.test)


def with_denormals(item: Exported, bench: Bench) -> tuple[Timing, Timing]:
    """The timing with denormal weights, beside that of the file without them."""
    path = item.path.with_name(f"{item.path.stem}.denormals.onnx")
    bench.write(item.model, path, flush=False)
    before, after = bench.compare([replace(item, path=path), item])
    path.unlink()
    return before, after


def try_int8(item: Exported, bench: Bench, splits: Splits, floor: float) -> Int8:
    """Quantise, measure against the fp32 file, and keep it only where it is faster.

    A file below the accuracy floor is not kept either.
    """
    try:
        small = item.in_int8(splits.calibration)
    except ExportError as error:
        return Int8(Quantisation(kept=False, reason=str(error)))
    slow, fast = bench.compare([item, small])
    found = validation_accuracy(small.path, splits)
    verdict = _verdict(small, (slow, fast), found)
    reason = ""
    if fast.share_of(slow) >= 1:
        reason = f"fp32 is faster here: int8 has {verdict.reason}"
    elif found < floor:
        reason = f"validation accuracy {found:.2%} is below the floor {floor:.2%}"
    if reason:
        small.path.unlink()
        return Int8(replace(verdict, kept=False, reason=reason))
    figures = replace(bench.figures(small, fast), validation_accuracy=found)
    return _kept(small, figures, verdict, splits)


def keep_int8(
    item: Exported, figures: ModelFigures, bench: Bench, splits: Splits
) -> tuple[Timing, Int8]:
    """An int8 file that counts, and the timing of the fp32 file that it is made of.

    Args:
        figures: of the int8 file, by which the run has judged it.
    """
    slow, fast = bench.compare([item.in_fp32, item])
    verdict = _verdict(item, (slow, fast), figures.validation_accuracy)
    return slow, _kept(item, figures, verdict, splits)


def _verdict(
    small: Exported, timings: tuple[Timing, Timing], found: float | None
) -> Quantisation:
    """What an int8 file gave beside the fp32 one, in one measurement."""
    slow, fast = timings
    speedup = 1 / fast.share_of(slow)
    return Quantisation(
        kept=True,
        reason=f"{speedup:.2f}x the speed of fp32 in the same run",
        latency_ms=fast.median_ms,
        speedup=speedup,
        validation_accuracy=found,
        size_bytes=small.path.stat().st_size,
    )


def _kept(
    small: Exported, figures: ModelFigures, verdict: Quantisation, splits: Splits
) -> Int8:
    """A file that is delivered: the test split read, and its outputs compared."""
    tested = replace(figures, test_accuracy=tested_accuracy(small.path, splits))
    parity = compare_with_file(small.model, small.path, splits.validation)
    return Int8(verdict, tested, parity)
