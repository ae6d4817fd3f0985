from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.records import Step
from edgeprune.stop import MAX_ROUNDS, RoundResult, decide

STEP = Step("round", 1.0, 1, 1, 0.5, 0.9, valid=True)


def standing(pressure, *, valid=True, reached=True):
    """A round's result; one that is not valid has lost too much."""
    step = replace(STEP, valid=valid, validation_accuracy=0.9 if valid else 0.7)
    return RoundResult(step, pressure, reached)


def test_a_baseline_within_the_budget_is_done_at_once():
    assert decide([], standing(0.9), 0.8).verdict == "met"


def test_a_shallow_cut_goes_straight_to_the_budget():
    decision = decide([], standing(2.5), 0.8)
    assert (decision.verdict, decision.goal, decision.resume) == ("go on", 1.0, -1)


def test_a_deep_cut_goes_in_equal_parts():
    assert decide([], standing(8.0), 0.8).goal == pytest.approx(8**0.5)


def test_a_valid_round_within_the_budget_is_met():
    decision = decide([standing(0.97)], standing(2.0), 0.8)
    assert (decision.verdict, decision.resume) == ("met", 0)


def test_a_round_just_above_the_budget_is_pruned_on():
    decision = decide([standing(1.02)], standing(2.0), 0.8)
    assert (decision.verdict, decision.goal, decision.resume) == ("go on", 1.0, 0)


def test_below_the_floor_it_goes_half_as_far_a_few_times():
    first = [standing(1.0, valid=False)]
    decision = decide(first, standing(2.0), 0.8)
    assert decision.goal == pytest.approx(2**0.5)
    assert decision.resume == -1
    second = [*first, standing(1.4)]
    assert decide(second, standing(2.0), 0.8).goal == pytest.approx(1.4**0.5)
    third = [*second, standing(1.2, valid=False)]
    assert decide(third, standing(2.0), 0.8).goal == pytest.approx((1.4 * 1.2) ** 0.5)
    third = decide([*third, standing(1.25, valid=False)], standing(2.0), 0.8)
    assert (third.verdict, third.resume) == ("floor", 1)
    assert "80.00%" in third.reason


def test_a_valid_model_close_to_a_failed_one_ends():
    history = [standing(1.0, valid=False), standing(1.09)]
    assert decide(history, standing(2.0), 0.8).verdict == "floor"


def test_a_round_that_saved_no_time_is_not_blamed_on_the_accuracy():
    slow = standing(1.04)
    slow = replace(slow, step=replace(slow.step, valid=False))
    decision = decide([standing(1.02), slow], standing(2.0), 0.8)
    assert (decision.verdict, decision.resume) == ("exhausted", 0)
    assert "no faster" in decision.reason


def test_a_network_with_nothing_left_to_remove_ends():
    decision = decide([standing(1.5, reached=False)], standing(2.0), 0.8)
    assert (decision.verdict, decision.resume) == ("exhausted", 0)


def after(lost, floor=0.8):
    """The second goal of a deep cut whose first round, threefold, lost so much."""
    first = RoundResult(
        replace(STEP, validation_accuracy=0.9 - lost), 6.0, reached=True
    )
    return decide([first], standing(18.0), floor).goal


def test_the_less_a_round_has_lost_the_further_goes_the_next():
    assert after(0.0) == pytest.approx(2.0)  # no round goes further than threefold
    assert after(1 / 30) == pytest.approx(2.0)  # half of what is left is as much
    assert after(0.04) == pytest.approx(6 / 3**0.75)
    assert after(0.09) == pytest.approx(6 / 3**0.5)  # never less than half as far


def test_without_a_budget_the_floor_is_the_aim():
    first = decide([], standing(20.0), 0.8, until_floor=True)
    assert first.goal == pytest.approx(20 / 1.5)
    history = [standing(13.0), standing(9.0, valid=False)]
    assert decide(history, standing(20.0), 0.8, until_floor=True).goal == pytest.approx(
        (13 * 9) ** 0.5
    )
    history += [standing(11.0, valid=False), standing(12.0, valid=False)]
    ended = decide(history, standing(20.0), 0.8, until_floor=True)
    assert (ended.verdict, ended.resume) == ("met", 0)
    failed = [standing(13.0, valid=False)] * 3
    assert decide(failed, standing(20.0), 0.8, until_floor=True).verdict == "floor"


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.booleans(), st.booleans()), max_size=20),
    st.floats(0.1, 50),
)
def test_it_halts_for_any_history(rounds, baseline):
    history = []
    for pressure, valid, reached in rounds:
        decision = decide(history, standing(baseline), 0.5)
        if decision.goal is None:
            break
        assert decision.goal >= 1 or decision.goal == pytest.approx(1)
        history.append(standing(pressure, valid=valid, reached=reached))
    assert len(history) <= MAX_ROUNDS
    final = decide(history, standing(baseline), 0.5)
    if final.verdict == "met" and final.resume >= 0:
        assert history[final.resume].step.valid
        assert history[final.resume].pressure <= 1
