"""Devices from Python: check one, measure ONNX files there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from edgeprune import targets
from edgeprune.api.access import IN_THE_WAY, instead_of
from edgeprune.api.versions import versions
from edgeprune.devices.check import check_device
from edgeprune.devices.foreign import read_foreign, with_earlier
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.errors import MeasurementError
from edgeprune.estimate.work import work_of
from edgeprune.files import sha256
from edgeprune.records import (
    DeviceCheck,
    FileTiming,
    Measurements,
    PairedTiming,
    Timing,
    TimingSummary,
)
from edgeprune.records.measurement import pooled
from edgeprune.records.measurements import MEASUREMENTS_SCHEMA


def check_target(target: str = "host") -> DeviceCheck:
    """Whether a target's device can be measured, and what stands in the way.

    Raises:
        TargetError: there is no such target.

    Example:
        >>> import edgeprune
        >>> edgeprune.check_target("host").usable
        True
    """
    held = targets.load(target)
    found = check_device(runner_for(held))
    if found.usable or found.failure in IN_THE_WAY:
        return found
    return replace(found, problem=f"{found.problem}{instead_of(held)}")


def measure_files(
    files: Sequence[str | Path],
    *,
    target: str = "host",
    processes: int | None = None,
    sustained: float | None = None,
    batch: int = 1,
) -> Measurements:
    """Time ONNX files on a target, their rounds in turn, in several processes.

    Args:
        processes: one after another; the target's own number by default.
        sustained: seconds that the last file is run without a pause.
        batch: samples in one call, where a file leaves that open.

    Raises:
        TargetError: there is no such target.
        MeasurementError: a file is not there, or cannot be measured.

    Example:
        >>> import edgeprune
        >>> found = edgeprune.measure_files(["runs/first/model.onnx"], processes=1)
        >>> found.files[0].median_ms > 0
        True
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise MeasurementError(f"There is no file {path}.")
    held = targets.load(target)
    with closing(runner_for(held, batch=batch)) as runner:
        timings = measured_in_turn(runner, paths, processes)
        long = None if sustained is None else runner.sustained(paths[-1], sustained)
    return Measurements(
        schema_version=MEASUREMENTS_SCHEMA,
        target=held.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        files=tuple(
            _measured(path, timing, timings[0])
            for path, timing in zip(paths, timings, strict=True)
        ),
        sustained=long,
    )


def measured_in_turn(
    runner: Runner, paths: Sequence[Path], processes: int | None = None
) -> list[Timing]:
    """Time files, their rounds in turn, in several processes.

    Args:
        processes: one after another; the target's own number by default.
    """
    timings = runner.time(paths)
    for _ in range((processes or runner.target.verdict.processes) - 1):
        timings = pooled(timings, runner.time(paths))
    return timings


def _measured(path: Path, timing: Timing, first: Timing) -> FileTiming:
    return FileTiming(
        file=path.name,
        sha256=sha256(path),
        size_bytes=path.stat().st_size,
        median_ms=timing.median_ms,
        ratio=PairedTiming(timing, first).ratio,
        summary=TimingSummary.of(timing),
        timing=timing,
        work=_work(path),
    )


def import_times(
    files: Sequence[str | Path], source: str | Path, *, target: str = "host"
) -> Measurements:
    """The time of an ONNX file by what another program wrote of it.

    Raises:
        TargetError: there is no such target.
        MeasurementError: not one file is given, or it is not there.
        ReportError: no time can be read.
    """
    if len(files) != 1:
        message = "--from: give the one ONNX file whose time that is."
        raise MeasurementError(message)
    (path,) = map(Path, files)
    if not path.is_file():
        raise MeasurementError(f"There is no file {path}.")
    work = _work(path)
    if work is None:
        raise MeasurementError(f"{path} is no ONNX file whose operators can be read.")
    found = read_foreign(Path(source), path, targets.load(target).name)
    files_told = tuple(replace(item, work=work) for item in found.files)
    return replace(found, files=files_told)


def _work(path: Path) -> tuple[float, ...] | None:
    """What a file computes, by kind; None if it cannot be read."""
    try:
        return tuple(work_of(path).tolist())
    except Exception:  # noqa: BLE001  onnx's own, of many kinds
        return None


def check_kept(out: Path, target: str) -> None:
    """Refuse, before anything is measured, a file that times cannot be added to.

    Raises:
        ReportError: it is something else, or of another target.
    """
    name = targets.load(target).name
    with_earlier(Measurements(MEASUREMENTS_SCHEMA, name, "", ()), out)
