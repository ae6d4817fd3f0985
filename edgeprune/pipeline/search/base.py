"""The interface of every search, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.records import Attempt, Budget
from edgeprune.units import milliseconds


@dataclass(frozen=True)
class FoundPlan:
    """The result of a search.

    Attributes:
        fits: whether it is within all limits.
    """

    candidate: Candidate
    attempt: Attempt
    fits: bool


class Search(Protocol):
    """How a round finds its plan."""

    def find(self, start: ModelSnapshot, limits: Budget) -> FoundPlan:
        """Find the plan for a network on its way."""
        ...


def outcome_text(attempt: Attempt) -> str:
    """Describe the outcome of a search in a line of progress."""
    latency = milliseconds(attempt.latency_ms)
    return f"{latency} with {attempt.kept_share:.0%} of the channels"
