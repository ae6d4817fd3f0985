"""The int8 file of a result: kept where it is faster, or because it is deployed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeprune.errors import ExportError
from edgeprune.export import deliver
from edgeprune.measure.benchmark import Exported
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.records import PairedTiming, Quantisation


def try_int8(
    context: RunContext, result: ModelSnapshot, tests: deliver.TestSplit
) -> deliver.Int8:
    """Quantize a result, and keep the file only where it is faster than the fp32 one.

    A file below the accuracy floor is not kept either.
    """
    evaluator, item = context.evaluator, result.exported

    def accepts(path: Path) -> bool:
        return deliver.validation_accuracy(path, context.data) >= context.floor

    try:
        small, mixed = evaluator.benchmark.in_mixed(
            item, context.data.calibration, accepts
        )
    except ExportError as error:
        return deliver.Int8(Quantisation(kept=False, reason=str(error)))
    plain, paired = evaluator.time_together([item, small])
    accuracy = deliver.validation_accuracy(small.path, context.data)
    verdict = _verdict(context, small, (plain, paired), accuracy)
    verdict = replace(verdict, in_float=mixed.in_float)
    reason = ""
    if PairedTiming(paired.timing, plain.timing).ratio >= 1:
        reason = f"fp32 is faster here: int8 has {verdict.reason}"
    elif accuracy < context.floor:
        found, floor = (
            context.metric.text(value) for value in (accuracy, context.floor)
        )
        reason = f"validation {context.metric.name} {found} is below the floor {floor}"
    if reason:
        small.path.unlink()
        return deliver.Int8(replace(verdict, kept=False, reason=reason))
    if mixed.in_float:
        reason = f"{verdict.reason}; {mixed.text} operators stay in float"
        verdict = replace(verdict, reason=reason)
    figures = evaluator.figures(small, paired)
    figures = replace(figures, validation_accuracy=accuracy)
    return deliver.kept_int8(small, figures, verdict, context.data, tests)


def keep_int8(
    context: RunContext, result: ModelSnapshot, tests: deliver.TestSplit
) -> tuple[ModelSnapshot, deliver.Int8]:
    """A deployed int8 file, and the snapshot of the fp32 file that it is made of."""
    evaluator, item = context.evaluator, result.exported
    plain, paired = evaluator.time_together([item.in_fp32, item])
    snapshot = evaluator.snapshot(
        item.in_fp32, plain, plans=result.plans, surgery=result.surgery
    )
    accuracy = result.figures.validation_accuracy
    verdict = _verdict(context, item, (plain, paired), accuracy)
    small = deliver.kept_int8(item, result.figures, verdict, context.data, tests)
    return snapshot, small


def _verdict(
    context: RunContext,
    small: Exported,
    timed: tuple[PairedTiming, PairedTiming],
    accuracy: float | None,
) -> Quantisation:
    """Compare an int8 file with the fp32 one, in one measurement."""
    plain, paired = timed
    speedup = 1 / PairedTiming(paired.timing, plain.timing).ratio
    return Quantisation(
        kept=True,
        reason=f"{speedup:.2f}x the speed of fp32 in the same run",
        latency_ms=paired.ratio * context.evaluator.reference.ms,
        speedup=speedup,
        validation_accuracy=accuracy,
        size_bytes=small.path.stat().st_size,
    )
