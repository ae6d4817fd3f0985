from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.records import Step
from edgeprune.stop import MAX_ROUNDS, Standing, decide

STEP = Step("round", 1.0, 1, 1, 0.5, 0.9, valid=True)


def standing(pressure, *, valid=True, reached=True):
    return Standing(replace(STEP, valid=valid), pressure, reached)


def test_a_baseline_within_the_budget_is_done_at_once():
    assert decide([], 0.9, 0.8).verdict == "met"


def test_a_shallow_cut_goes_straight_to_the_budget():
    decision = decide([], 2.5, 0.8)
    assert (decision.verdict, decision.goal, decision.resume) == ("go on", 1.0, -1)


def test_a_deep_cut_goes_in_equal_parts():
    assert decide([], 8.0, 0.8).goal == pytest.approx(8**0.5)


def test_a_valid_round_within_the_budget_is_met():
    decision = decide([standing(0.97)], 2.0, 0.8)
    assert (decision.verdict, decision.resume) == ("met", 0)


def test_a_round_just_above_the_budget_is_pruned_on():
    decision = decide([standing(1.02)], 2.0, 0.8)
    assert (decision.verdict, decision.goal, decision.resume) == ("go on", 1.0, 0)


def test_below_the_floor_it_goes_half_as_far_a_few_times():
    first = [standing(1.0, valid=False)]
    decision = decide(first, 2.0, 0.8)
    assert decision.goal == pytest.approx(2**0.5)
    assert decision.resume == -1
    second = [*first, standing(1.4)]
    assert decide(second, 2.0, 0.8).goal == pytest.approx(1.4**0.5)
    third = [*second, standing(1.2, valid=False)]
    assert decide(third, 2.0, 0.8).goal == pytest.approx((1.4 * 1.2) ** 0.5)
    third = decide([*third, standing(1.25, valid=False)], 2.0, 0.8)
    assert (third.verdict, third.resume) == ("floor", 1)
    assert "80.00%" in third.reason


def test_a_valid_model_close_to_a_failed_one_ends():
    history = [standing(1.0, valid=False), standing(1.09)]
    assert decide(history, 2.0, 0.8).verdict == "floor"


def test_a_network_with_nothing_left_to_remove_ends():
    decision = decide([standing(1.5, reached=False)], 2.0, 0.8)
    assert (decision.verdict, decision.resume) == ("exhausted", 0)


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.booleans(), st.booleans()), max_size=20),
    st.floats(0.1, 50),
)
def test_it_halts_for_any_history(rounds, baseline):
    history = []
    for pressure, valid, reached in rounds:
        decision = decide(history, baseline, 0.5)
        if decision.goal is None:
            break
        assert decision.goal >= 1 or decision.goal == pytest.approx(1)
        history.append(standing(pressure, valid=valid, reached=reached))
    assert len(history) <= MAX_ROUNDS
    final = decide(history, baseline, 0.5)
    if final.verdict == "met" and final.resume >= 0:
        assert history[final.resume].step.valid
        assert history[final.resume].pressure <= 1
