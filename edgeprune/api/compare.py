"""Compares results: runs, measurements, and ONNX files that are timed for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgeprune.api.devices import measure_files
from edgeprune.data.digits import BATCH
from edgeprune.devices.foreign import read_measurements
from edgeprune.errors import ReportError
from edgeprune.records import RunReport
from edgeprune.report.compare import (
    Compared,
    Comparison,
    compared,
    of_file,
    of_measurements,
    of_run,
)
from edgeprune.report.files import read_report
from edgeprune.workload import EXAMPLE

ONNX = ".onnx"


def compare_results(sources: Sequence[Path]) -> Comparison:
    """Results by what runs and measurements hold.

    Args:
        sources: folders of runs, their reports, or what `edgeprune measure --out`
            wrote.

    Raises:
        ReportError: one of them cannot be read, or there is nothing to compare it with.
    """
    found = [item for source in sources for item in _read(source)]
    if len(found) < 2:
        raise ReportError("There is nothing to compare it with: give two results.")
    return compared(found)


def compare_anew(
    sources: Sequence[Path], *, target: str = "host", processes: int | None = None
) -> Comparison:
    """Results whose files are timed on a target now, their rounds in turn.

    Args:
        sources: folders of runs, or ONNX files.

    Raises:
        ReportError: one of them cannot be read, or has no file.
        MeasurementError: a file cannot be measured.
    """
    files = [_file_of(source) for source in sources]
    if len(files) < 2:
        raise ReportError("There is nothing to compare it with: give two results.")
    reports = {source: read_report(source) for source in sources if source.is_dir()}
    batch = _batch_of(reports.values())
    measured = measure_files(files, target=target, processes=processes, batch=batch)
    items: list[Compared] = []
    for source, timed in zip(sources, measured.files, strict=True):
        if source not in reports:
            alone = of_file(str(source), timed, measured.target)
            items.append(replace(alone, ratio=timed.ratio))
            continue
        report = reports[source]
        if timed.sha256 != report.counted.sha256:
            message = f"{source / report.counted.file} is not the file that the report"
            raise ReportError(f"{message} beside it tells of: it was changed since.")
        run = of_run(str(source), report)
        items.append(run.timed_anew(timed, measured.target))
    return compared(items)


def _batch_of(reports: Iterable[RunReport]) -> int:
    """Samples in one call of the runs' files; 1 where there is no run.

    Raises:
        ReportError: they have several.
    """
    found: set[int] = set()
    for report in reports:
        asked = report.settings.get("batch")
        usual = BATCH if report.settings.get("model") == EXAMPLE else 1
        found.add(asked if isinstance(asked, int) else usual)
    if len(found) > 1:
        told = " and ".join(map(str, sorted(found)))
        message = f"The runs have files for {told} samples in a call"
        raise ReportError(f"{message}, whose times do not compare.")
    return found.pop() if found else 1


def _read(source: Path) -> list[Compared]:
    """What a folder or a file holds."""
    if source.suffix == ONNX:
        message = f"{source} has no figures of its own: --remeasure times it"
        raise ReportError(f"{message}, or give what `edgeprune measure --out` wrote.")
    if source.is_file() and _is_measurements(source):
        return of_measurements(str(source), read_measurements(source))
    return [of_run(str(source), read_report(source))]


def _is_measurements(source: Path) -> bool:
    """Whether a file lists files that were timed; what is wrong with it comes later."""
    try:
        held = json.loads(source.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(held, dict) and "files" in held and "status" not in held


def _file_of(source: Path) -> Path:
    """The ONNX file of a result."""
    if source.suffix == ONNX:
        return source
    if not source.is_dir():
        message = f"{source} is neither the folder of a run nor an ONNX file"
        raise ReportError(f"{message}, which --remeasure needs.")
    return source / read_report(source).counted.file
