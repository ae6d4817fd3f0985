"""ONNX files that were timed on a device: what `edgeprune measure` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeprune.records.device import Sustained
from edgeprune.records.measurement import Timing, TimingSummary

MEASUREMENTS_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FileTiming:
    """The time of one file.

    Attributes:
        sha256: of its content; None where only its name is known.
        ratio: its time as a share of the first file's, in the same measurement.
        timing: every sample; None where they were not told.
        source: what took the time.
        work: of the network, by kind; see `edgeprune.estimate.work`.
    """

    file: str
    median_ms: float
    sha256: str | None = None
    size_bytes: int | None = None
    ratio: float | None = None
    summary: TimingSummary | None = None
    timing: Timing | None = None
    source: str = "edgeprune"
    work: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Measurements:
    """Files that were timed on one device.

    Attributes:
        sustained: the last file without a pause.
    """

    schema_version: int
    target: str
    created: str
    files: tuple[FileTiming, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    sustained: Sustained | None = None
