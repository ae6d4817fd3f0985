from pathlib import Path

import pytest

from edgeprune.profile.staircase import FULL, choose_step, measure_channel_step
from tests.figures import timing_of


def staircase(block):
    """A runtime that computes channels in blocks."""
    return {count: float(-(-count // block)) for count in (64, 63, 62, 60, 56, 48, 32)}


@pytest.mark.parametrize("block", [1, 2, 4, 8, 16, 32])
def test_the_step_is_the_runtimes_block(block):
    assert choose_step(staircase(block)) == block


def test_the_issue_of_slower_odd_counts():
    """Measured on an AVX-512 core: 63 channels are slower than 64, 56 as slow."""
    found = {64: 0.75, 63: 1.08, 62: 1.07, 60: 0.75, 56: 0.75, 48: 0.53, 32: 0.3}
    assert choose_step(found) == 16


def test_probes_are_timed_together(tmp_path):
    class Blocks:
        def time(self, models, recipe=None):
            counts = [int(Path(path).stem.removeprefix("probe")) for path in models]
            return [timing_of(float(-(-count // 8))) for count in counts]

    step = measure_channel_step(Blocks(), tmp_path)
    assert step.step == 8
    assert step.latency_ms[FULL] == 8
