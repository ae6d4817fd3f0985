import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.records import (
    Budget,
    Epoch,
    Parity,
    Plan,
    RunReport,
    Step,
    Timing,
    TimingSummary,
    from_json,
    pressure_of,
    to_json,
)
from tests.figures import timing_of
from tests.reports import report

numbers = st.floats(0, 1e6, allow_nan=False)
plans = st.builds(
    Plan, st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 99)).map(tuple))
)


@given(
    st.one_of(
        plans,
        st.builds(Epoch, st.integers(1, 9), numbers, numbers, numbers, numbers),
        st.builds(Budget, st.none() | numbers, st.none() | st.integers(1, 10**12)),
        st.builds(
            Step,
            st.text(),
            numbers,
            st.integers(),
            st.integers(),
            numbers,
            numbers,
            st.booleans(),
        ),
        st.builds(
            Parity,
            st.text(),
            st.integers(),
            numbers,
            numbers,
            numbers,
            numbers,
            st.booleans(),
        ),
    )
)
def test_records_survive_json(record):
    assert from_json(type(record), to_json(record)) == record


def test_timings_and_reports_survive_json():
    assert from_json(Timing, to_json(timing_of(1.0, 2.5))) == timing_of(1.0, 2.5)
    assert from_json(RunReport, to_json(report())) == report()


def test_percentiles_are_nearest_rank():
    timing = timing_of(*range(1, 101))
    assert timing.median_ms == 50.5
    assert timing.percentile_ms(90) == 91
    assert timing.spread == pytest.approx((76 - 26) / 50.5)


def test_the_slowest_hundredth_needs_samples():
    few, many = timing_of(*[1.0] * 299), timing_of(*[1.0] * 300)
    assert TimingSummary.of(few).p99_ms is None
    assert TimingSummary.of(many).p99_ms == 1.0


def test_a_timing_warns_of_its_own_spread_and_drift():
    assert timing_of(*[2.0, 2.02] * 20).warnings == ()
    assert "spread" in timing_of(*[1.0, 1.5] * 20).warnings[0]
    drifting = timing_of(*[1.0] * 20, *[1.04] * 20, *[1.07] * 20)
    assert "drifted by +7%" in drifting.warnings[0]


def test_pressure_is_the_largest_share_of_any_limit():
    step = Step("a", 10.0, 100, 50, 0.5, 0.5, valid=True)

    class Costs:
        latency_ms, macs, params = 10.0, 100, 50
        size_bytes, memory_bytes = 200, 400

    assert step.macs == Costs.macs
    assert pressure_of(Costs, Budget(latency_ms=20, macs=50)) == 2
    assert pressure_of(Costs, Budget()) == 0
