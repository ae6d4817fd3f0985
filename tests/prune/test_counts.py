"""Limits on what is counted, of networks that count otherwise than predicted."""

from dataclasses import replace

import pytest

from edgeprune.prune import planner
from edgeprune.records import Budget, pressure_of
from tests.nets import Bottom
from tests.prune.test_planner import Device


class Heavier(Device):
    """A part of what is counted does not get less, which predictions do not see."""

    def measure(self, trial):
        attempt = super().measure(trial)
        macs = round(0.85 * attempt.macs + 0.15 * self.count.macs)
        params = round(0.85 * attempt.params + 0.15 * self.count.params)
        attempt = replace(attempt, macs=macs, params=params)
        return replace(attempt, within_budget=pressure_of(attempt, self.budget) <= 1)


@pytest.mark.parametrize("name", ["macs", "params"])
def test_a_limit_that_was_missed_is_aimed_at_again(name):
    count = getattr(Device(Bottom(96)).count, name)
    device = Heavier(Bottom(96), budget=Budget(**{name: count // 2}))
    found = planner.search(device.problem(), device)
    assert found.fits
    assert 0.9 * (count // 2) <= getattr(found.attempt, name) <= count // 2
    assert 1 < device.rounds <= planner.ROUNDS
