"""What a sweep found: a cell for each choice of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeprune.metric import ACCURACY, Metric

SWEEP_SCHEMA = 1
CellStatus = Literal["met", "unmet", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class CellEnd:
    """Why a cell has no result.

    Attributes:
        refused: it was, by a sentence; else it failed.
    """

    refused: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One choice of settings, and what came of it.

    Attributes:
        changes: its own settings.
        sentence: of its run, or why there is none.
        accuracy: on the test split.
        latency_ms: of the file that counts, timed in turn with all others at the end.
        latency_ratio: as a share of the original's.
        on_frontier: no other one is faster and at least as accurate.
    """

    name: str
    changes: Mapping[str, object]
    target: str
    status: CellStatus
    sentence: str
    file: str | None = None
    accuracy: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    size_bytes: int | None = None
    macs: int | None = None
    on_frontier: bool = False

    @property
    def number(self) -> str:
        """What its name begins with."""
        return self.name.split("-", 1)[0]

    @property
    def told(self) -> str:
        """Its number and its settings."""
        changes = (
            f"{name.replace('_', '-')} {value}" for name, value in self.changes.items()
        )
        return f"{self.number} ({', '.join(changes)})"


@dataclass(frozen=True, slots=True)
class SweepOriginal:
    """What cells are compared with: a network before it was compressed, on a target.

    Attributes:
        latency_ms: timed in turn with its cells.
        accuracy: on the test split.
    """

    target: str
    model: str
    latency_ms: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The content of `sweep.json`.

    Attributes:
        baseline_ms: of the first original, by target.
        baseline_accuracy: of the first original, on the test split.
        originals: all of them.
        ship: by target, the cell that is worth shipping; none where no budget is met.
    """

    schema_version: int
    created: str
    seconds: float
    versions: Mapping[str, str]
    cells: tuple[SweepCell, ...]
    baseline_ms: Mapping[str, float]
    baseline_accuracy: float | None
    ship: Mapping[str, str]
    sentence: str
    metric: Metric = ACCURACY
    originals: tuple[SweepOriginal, ...] = ()
