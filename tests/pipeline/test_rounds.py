"""What a round may take of the time."""

from types import SimpleNamespace

import pytest

from edgeprune.finetune.config import TrainingConfig
from edgeprune.pipeline.job import Journal
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


@pytest.mark.parametrize(
    ("int8", "goal", "enough"),
    [
        (None, 1.0, 0.9),
        (0.93, 1.0, 0.92),  # what quantising costs is asked for on top
        (0.96, 1.0, 0.9),
        (0.93, 1.5, 0.92),
        (0.85, 1.5, 0.95),  # on the way, no more than the original has
    ],
)
def test_training_ends_where_the_file_that_counts_is_at_the_floor(int8, goal, enough):
    def state(accuracy):
        return SimpleNamespace(figures=SimpleNamespace(validation_accuracy=accuracy))

    job = SimpleNamespace(
        **dict.fromkeys(("train", "stop_at_floor"), True),
        **dict.fromkeys(("minutes", "optimizer", "from_scratch"), None),
        epochs=2,
        growth="no",
        distil="no",
        recipe=TrainingConfig(),
        workload=SimpleNamespace(model=None),
    )
    start = state(0.95 if int8 is None else int8)
    ground = SimpleNamespace(
        job=job, baseline=state(0.95), start=start, journal=Journal()
    )
    found = Rounds(ground, floor=0.9).recipe("x", goal).enough
    assert found == pytest.approx(enough)
