"""The report of `edgeprune profile`: which budgets are within reach."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.records.groups import RefusedGroup
from edgeprune.records.latency import LatencySummary
from edgeprune.records.measurement import ModelFigures
from edgeprune.records.run import Attempt


@dataclass(frozen=True, slots=True)
class ReachPoint:
    """The fastest network with a share of the channels: an estimate.

    Attributes:
        share: of all prunable channels that are left.
        bypassed: how many blocks are left out.
    """

    share: float
    latency_ms: float
    macs: float
    params: float
    bypassed: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The fastest times that pruning can reach on a target.

    Attributes:
        points: predicted, from few channels to all.
        smallest: the smallest network, exported and measured.
    """

    points: tuple[ReachPoint, ...]
    smallest: Attempt
    latency_model: LatencySummary


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """The output of `edgeprune profile --json`."""

    figures: ModelFigures
    refused: tuple[RefusedGroup, ...]
    reach: Reach | None = None
    notes: tuple[str, ...] = ()
