"""Times that another program has taken of a file, as our own record.

Known are the profile job of Qualcomm AI Hub (`download_profile()` as JSON, in
microseconds), the result file of `onnxruntime_perf_test` (a line for each run, in
seconds), and our own JSON.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from edgeprune.errors import ReportError
from edgeprune.files import sha256
from edgeprune.records import FileTiming, Measurements, from_json
from edgeprune.records.json import fault_text
from edgeprune.records.measurements import MEASUREMENTS_SCHEMA

ROW = 4  # commas of a run, at least
# In ms; the estimate that such a profile states, too, is its shortest time.
Reader = Callable[[str], list[float]]


def _ai_hub(text: str) -> list[float]:
    found = json.loads(text)["execution_summary"]["all_inference_times"]
    return [float(time) / 1e3 for time in found]


def _perf_test(text: str) -> list[float]:
    """Rows of model, seconds, memory, processor and run; a summary may follow them."""
    models, found = set[str](), list[float]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(",") < ROW:
            continue
        model, seconds, *_ = line.rsplit(",", ROW)
        models.add(model)
        try:
            found.append(float(seconds) * 1e3)
        except ValueError as error:
            message = f"line {number}: {seconds!r} is no time in seconds"
            raise _UnfitError(message) from error
    if len(models) > 1:
        message = f"it has runs of several models, {' and '.join(sorted(models))}"
        raise _UnfitError(f"{message}: give that of one")
    return found


class _UnfitError(Exception):
    """A file of a known kind that is not as it should be."""


READERS: dict[str, Reader] = {
    "Qualcomm AI Hub": _ai_hub,
    "onnxruntime_perf_test": _perf_test,
}


def read_foreign(path: Path, model: Path, target: str) -> Measurements:
    """The time of a model by a file that another program wrote.

    Raises:
        ReportError: it cannot be read, or no time stands in it.
    """
    text = _text(path)
    for source, read in READERS.items():
        with suppress(ValueError, KeyError, TypeError):
            try:
                samples = read(text)
            except _UnfitError as error:
                raise ReportError(f"{path}: {error}.") from error
            if samples and all(0 < sample < float("inf") for sample in samples):
                median = statistics.median(samples)
                size = model.stat().st_size
                item = FileTiming(
                    model.name, median, sha256(model), size, source=source
                )
                return Measurements(
                    schema_version=MEASUREMENTS_SCHEMA,
                    target=target,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    files=(item,),
                )
    message = (
        f"{path}: there are no times in it that can be read; known are "
        f"{' and '.join(READERS)}."
    )
    raise ReportError(message)


def read_measurements(path: Path) -> Measurements:
    """What `edgeprune measure --out` has written.

    Raises:
        ReportError: it cannot be read, or is of another version.
    """
    try:
        found = from_json(Measurements, _text(path))
    except ValidationError as error:
        message = (
            f"{path} is not what `edgeprune measure --out` writes: {fault_text(error)}."
        )
        raise ReportError(message) from error
    if found.schema_version != MEASUREMENTS_SCHEMA:
        message = (
            f"{path} has the schema {found.schema_version}, this version reads "
            f"{MEASUREMENTS_SCHEMA}."
        )
        raise ReportError(message)
    if not all(0 < item.median_ms < float("inf") for item in found.files):
        raise ReportError(f"{path}: a time in it is no positive number.")
    return found


def with_earlier(found: Measurements, path: Path) -> Measurements:
    """The same with what a file held before; of a model the newer time is kept.

    Raises:
        ReportError: the file is something else, or of another target.
    """
    if not path.exists():
        return found
    before = read_measurements(path)
    if before.target != found.target:
        message = (
            f"{path} has times of {before.target}: those of {found.target} need a file "
            "of their own."
        )
        raise ReportError(message)
    newer = {item.sha256: item for item in found.files if item.sha256 is not None}
    kept = [newer.get(item.sha256 or "", item) for item in before.files]
    known = {item.sha256 for item in kept if item.sha256 is not None}
    added = [item for item in found.files if item.sha256 not in known]
    return replace(found, files=(*kept, *added))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReportError(f"{path} is no text.") from error
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error}.") from error
