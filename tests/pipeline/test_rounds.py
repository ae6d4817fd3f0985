"""What a round may take of the time."""

from types import SimpleNamespace

import pytest

from edgeprune.pipeline.rounds import Rounds
from edgeprune.records import Budget

BEFORE, BASELINE = 4.0, 8.0  # ms of the round's start, and of the original


@pytest.mark.parametrize(
    ("budget", "slowest"),
    [
        (Budget(latency_ms=3.0), BEFORE),
        (Budget(), BEFORE),  # until the floor: time is what is saved
        (Budget(params=100), BASELINE),
        (Budget(latency_ms=3.0, params=100), BEFORE),
    ],
)
def test_only_where_time_is_asked_for_each_round_must_save_some(budget, slowest):
    limits = Budget(latency_ms=budget.latency_ms or BASELINE)
    ground = SimpleNamespace(budget=budget, limits=limits)
    assert Rounds(ground, floor=0.9)._slowest(BEFORE) == slowest
