"""Examines a file: all checks in turn, the worst findings first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx

from edgeprune.devices.runner import Runner
from edgeprune.doctor import loading, quantized, speed, values
from edgeprune.doctor.examined import Examined
from edgeprune.errors import DeviceError, MeasurementError
from edgeprune.files import sha256
from edgeprune.metric import ACCURACY, Metric
from edgeprune.onnx_files.shapes import (
    Sample,
    open_axes,
    sample_text,
    takes,
    write_fixed,
)
from edgeprune.records import TimingSummary
from edgeprune.records.doctor import DOCTOR_SCHEMA, FileCheck, Finding
from edgeprune.temporary import temporary_folder
from edgeprune.units import milliseconds

CHECKS = (*loading.CHECKS, *values.CHECKS, *speed.CHECKS, *quantized.CHECKS)
ORDER = ("blocker", "warning", "note")


def examine(  # noqa: PLR0913  a gate's limits, each by its name
    path: Path,
    runner: Runner,
    *,
    sample: Sample | None = None,
    accuracy: float | None = None,
    metric: Metric = ACCURACY,
    max_ms: float | None = None,
    min_accuracy: float | None = None,
) -> FileCheck:
    """Look at an ONNX file on a target.

    Args:
        sample: shape of a sample, for axes of the input that are open.
        accuracy: of the file on a test split, where there is one, by the metric.
        max_ms: more is a blocker, and so is not to know.
        min_accuracy: less is a blocker, and so is not to know.

    Raises:
        MeasurementError: it is no ONNX file, or takes other samples.
    """
    proto = loading.load(path)
    if proto is None:
        raise MeasurementError(f"{path} is no ONNX file, or an empty one.")
    with _fixed(path, proto, sample) as fixed:
        file = Examined(path, proto, runner, fixed)
        if sample is not None and not _fits(file, sample):
            shape = sample_text(sample)
            raise MeasurementError(f"{path} does not take --input {shape}.")
        found = [finding for check in CHECKS for finding in check(file)]
        if max_ms is not None:
            found += _too_slow(file, max_ms)
    if min_accuracy is not None:
        found += _too_wrong(accuracy, min_accuracy, metric)
    timing = None if isinstance(file.timing, DeviceError) else file.timing
    return FileCheck(
        schema_version=DOCTOR_SCHEMA,
        file=str(path),
        sha256=sha256(path),
        target=runner.target.name,
        size_bytes=path.stat().st_size,
        ir_version=proto.ir_version,
        opset=file.opset,
        operators=len(proto.graph.node),
        summary=None if timing is None else TimingSummary.of(timing),
        provider=None if timing is None else timing.provider,
        accuracy=accuracy,
        metric=metric,
        findings=tuple(sorted(found, key=_rank)),
    )


@contextmanager
def _fixed(
    path: Path, proto: onnx.ModelProto, sample: Sample | None
) -> Iterator[Path | None]:
    """The file that is timed: itself, or a copy whose shapes are all told."""
    if not any(open_axes(proto).values()):
        yield path
        return
    try:
        whole = onnx.load(path)  # with weights that stand beside it
    except (OSError, ValueError, onnx.checker.ValidationError):
        yield None
        return
    with temporary_folder() as folder:
        copy = folder / path.name
        yield copy if write_fixed(whole, sample, copy) else None


def _fits(file: Examined, sample: Sample) -> bool:
    if not takes(file.proto, sample):
        return False
    return file.refused is None or replace(file, fixed=None).refused is not None


def _rank(item: Finding) -> tuple[int, float]:
    """The worst first, and of those what costs most."""
    return ORDER.index(item.severity), -(item.ms or 0.0)


def _too_slow(file: Examined, max_ms: float) -> list[Finding]:
    if file.ms is None:
        what = "its time is not known, so that --max-ms cannot be kept"
    elif file.ms > max_ms:
        what = f"it takes {milliseconds(file.ms)}, and --max-ms is {max_ms:g}"
    else:
        return []
    remedy = f"edgeprune compress --budget-ms {max_ms:g}"
    return [Finding("too_slow", "blocker", what, remedy)]


def _too_wrong(accuracy: float | None, least: float, metric: Metric) -> list[Finding]:
    if accuracy is None:
        what = "its accuracy is not known, so that --min-accuracy cannot be kept"
    elif accuracy < least:
        what = f"its {metric.name} is {metric.text(accuracy)}"
        what += f", and --min-accuracy {metric.text(least)}"
    else:
        return []
    return [Finding("too_inaccurate", "blocker", what, "train it further")]
