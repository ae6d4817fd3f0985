"""One network for several targets: what each of its models takes on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.metric import ACCURACY, Metric

TARGETS_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ModelOnTargets:
    """One run's model, timed on all targets.

    Attributes:
        run: its folder, inside that of all.
        file: the one in that folder which counts.
        latency_ms: by target.
        within: the targets whose budgets it meets.
        estimated: the targets whose times are estimates.
        status: of the run, on its own target.
    """

    run: str
    file: str
    latency_ms: Mapping[str, float]
    within: tuple[str, ...]
    validation_accuracy: float
    test_accuracy: float
    macs: int
    size_bytes: int
    status: str
    estimated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetsReport:
    """The content of `targets.json`.

    Attributes:
        budgets_ms: by target, in milliseconds there.
        baseline_ms: of the original, by target.
        for_all: the run whose model meets all budgets; None where none does.
    """

    schema_version: int
    status: str
    sentence: str
    created: str
    budgets_ms: Mapping[str, float]
    baseline_ms: Mapping[str, float]
    baseline_test_accuracy: float
    models: tuple[ModelOnTargets, ...]
    for_all: str | None
    metric: Metric = ACCURACY

    @property
    def chosen(self) -> ModelOnTargets | None:
        """The model that meets all budgets."""
        return next((item for item in self.models if item.run == self.for_all), None)
