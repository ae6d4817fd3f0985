"""The files that the device gets: proved to be right, int8 where it pays or counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.data import Splits
from edgeprune.errors import ExportError
from edgeprune.export.parity import compare_with_file, prove_parity
from edgeprune.export.session import OnnxModel
from edgeprune.measure.bench import Bench, Exported
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.measure.quantize import quantize
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
    write_onnx(item.model, bench.inputs, path, flush=False)
    before, after = bench.compare([replace(item, path=path), item])
    path.unlink()
    return before, after


def try_int8(item: Exported, bench: Bench, splits: Splits, floor: float) -> Int8:
    """Quantise, measure against the fp32 file, and keep it only where it is faster.

    A file below the accuracy floor is not kept either.
    """
    path = item.path.with_suffix(".int8.onnx")
    try:
        quantize(item.path, path, splits.calibration)
    except ExportError as error:
        return Int8(Quantisation(kept=False, reason=str(error)))
    small = Exported(item.model, path, item.cost, precision="int8")
    plain, fast = bench.compare([item, small])
    found = validation_accuracy(path, splits)
    speedup = 1 / fast.share_of(plain)
    reason = _faster(speedup)
    if speedup <= 1:
        reason = f"fp32 is faster here: int8 has {reason}"
    elif found < floor:
        reason = f"validation accuracy {found:.2%} is below the floor {floor:.2%}"
    kept = speedup > 1 and found >= floor
    verdict = Quantisation(
        kept=kept,
        reason=reason,
        latency_ms=fast.median_ms,
        speedup=speedup,
        validation_accuracy=found,
        size_bytes=path.stat().st_size,
    )
    if not kept:
        path.unlink()
        return Int8(verdict)
    figures = replace(
        bench.figures(small, fast),
        validation_accuracy=found,
        test_accuracy=tested_accuracy(path, splits),
    )
    return Int8(
        verdict, figures, compare_with_file(item.model, path, splits.validation)
    )


def keep_int8(
    item: Exported, figures: ModelFigures, bench: Bench, splits: Splits
) -> tuple[ModelFigures, Int8]:
    """Of an int8 file that counts: the fp32 file that it was made of, and itself.

    Args:
        figures: of the int8 file, by which the run has judged it.
    """
    plain = item.in_fp32
    slow, fast = bench.compare([plain, item])
    in_fp32 = replace(
        bench.figures(plain, slow),
        validation_accuracy=validation_accuracy(plain.path, splits),
    )
    speedup = 1 / fast.share_of(slow)
    verdict = Quantisation(
        kept=True,
        reason=_faster(speedup),
        latency_ms=fast.median_ms,
        speedup=speedup,
        validation_accuracy=figures.validation_accuracy,
        size_bytes=figures.size_bytes,
    )
    tested = replace(figures, test_accuracy=tested_accuracy(item.path, splits))
    parity = compare_with_file(item.model, item.path, splits.validation)
    return in_fp32, Int8(verdict, tested, parity)


def _faster(speedup: float) -> str:
    return f"{speedup:.2f}x the speed of fp32 in the same run"
