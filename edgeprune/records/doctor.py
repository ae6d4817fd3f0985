"""What `edgeprune check` finds in an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records.measurement import TimingSummary

DOCTOR_SCHEMA = 1
Severity = Literal["blocker", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a file, or could be better.

    Attributes:
        name: which kind of it, in one word with underscores.
        severity: a blocker keeps it from being used on the target, a warning costs
            time or accuracy, a note is worth knowing.
        what: what was found, as a sentence without a full stop.
        remedy: what to do, likewise.
        ms: of each run, that it costs; None where it was not measured.
    """

    name: str
    severity: Severity
    what: str
    remedy: str
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The answer of `edgeprune check`.

    Attributes:
        file: its path as given.
        opset: the version of ONNX's own operators.
        summary: of its time on the target; None where it was not measured.
        provider: that ran it there.
        accuracy: the metric on the test split; None without data.
        findings: blockers first.
    """

    schema_version: int
    file: str
    sha256: str
    target: str
    size_bytes: int
    ir_version: int
    opset: int | None
    operators: int
    summary: TimingSummary | None
    provider: str | None
    accuracy: float | None
    findings: tuple[Finding, ...]
    metric: Metric = ACCURACY

    @property
    def passed(self) -> bool:
        """Whether nothing keeps it from being used."""
        return all(item.severity != "blocker" for item in self.findings)
