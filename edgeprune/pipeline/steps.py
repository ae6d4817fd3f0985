"""Points on the curve of accuracy over time."""

from __future__ import annotations

from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.records import Step


def step_of(name: str, snapshot: ModelSnapshot, before: float, *, valid: bool) -> Step:
    """The point that a network on its way is.

    Args:
        before: validation accuracy before it was trained.
    """
    costs = snapshot.costs
    return Step(
        name=name,
        latency_ms=costs.latency_ms,
        macs=costs.macs,
        params=costs.params,
        accuracy_before_training=before,
        validation_accuracy=snapshot.accuracy,
        valid=valid,
        latency_ratio=costs.latency_ratio,
    )


def unpruned_step(name: str, snapshot: ModelSnapshot) -> Step:
    """A point that all curves start from."""
    return step_of(name, snapshot, snapshot.accuracy, valid=True)
