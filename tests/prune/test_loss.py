import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.loss import losses_of, lost, through
from edgeprune.records import GroupLoss, Sensitivity


def test_the_lowest_scores_go_and_each_counts_for_more_the_fewer_are_left():
    losses = lost(torch.tensor([4.0, 1.0, 2.0]))
    assert losses == pytest.approx([1 + 2 * 3 / 2 + 4 * 3, 1 + 2 * 3 / 2, 1, 0])


@given(
    st.lists(st.floats(0.01, 10), min_size=4, max_size=40),
    st.data(),
)
def test_a_curve_passes_through_what_was_measured_and_falls(scores, data):
    curve = lost(torch.tensor(scores))
    widths = data.draw(
        st.lists(st.integers(1, len(scores) - 1), min_size=1, max_size=3, unique=True)
    )
    rising = sorted(data.draw(st.lists(st.floats(0.1, 5), min_size=3, max_size=3)))
    points = dict(zip(sorted(widths, reverse=True), rising, strict=False))
    found = through(curve, points)
    for width, loss in points.items():
        assert found[width] == pytest.approx(loss)
    assert found[-1] == 0
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(found))


def test_noise_does_not_make_fewer_channels_better():
    found = through(lost(torch.ones(8)), {6: 1.0, 4: 0.5, 2: 2.0})
    assert found[4] == pytest.approx(1.0)
    assert found[2] == pytest.approx(2.0)


def test_channels_without_a_score_share_what_was_measured():
    assert through([0.0] * 5, {2: 1.0}) == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])


def test_where_nothing_was_measured_scores_alone_count():
    scores = {"a": torch.tensor([1.0, 2.0])}
    loss = losses_of(scores, Sensitivity((), {}, 8, 0.1))
    assert loss.widths["a"] == pytest.approx(lost(scores["a"]))


def test_blocks_cost_what_was_measured():
    measured = Sensitivity((GroupLoss("a", 1, 3.0),), {"block": 0.5}, 8, 0.1)
    loss = losses_of({"a": torch.tensor([1.0, 1.0])}, measured)
    assert loss.of({"a": 1}, ("block",)) == pytest.approx(3.5)
