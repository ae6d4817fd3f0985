"""Charts: where values lie, and that names do not cover each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report.chart import NARROW, WIDE, Chart, Drawing, Rule, Series, ticks

NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-3)


def chart(x, y, labels=(), rules=()):
    return Chart("a chart", "x", "y", (Series("one", x, y, labels),), rules)


def box(label):
    width = 7.2 * len(label.text)
    left = {"start": 0, "middle": width / 2, "end": width}[label.anchor]
    return label.x - left, label.y - 11, label.x - left + width, label.y + 4


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_all_points_lie_inside_the_axes(points):
    x, y = zip(*points, strict=True)
    for drawing in chart(x, y).drawings():
        for left, top, _ in drawing.dots(drawing.chart.series[0]):
            assert 56 <= left <= drawing.right
            assert 14 <= top <= drawing.bottom


@given(NUMBERS, st.floats(1e-3, 1e6), st.integers(3, 8))
def test_ticks_are_few_in_rising_order_and_told_apart(low, length, count):
    found = ticks(low, low + length, count)
    values = [value for value, _ in found]
    assert values == sorted(values)
    assert len(found) <= count + 1
    assert len({text for _, text in found}) == len(found)
    for value, text in found:
        assert float(text) == pytest.approx(value, abs=1e-6 * max(length, abs(value)))


def test_ticks_are_round():
    assert [text for _, text in ticks(0.0, 1.0, 4)] == [
        "0.00",
        "0.25",
        "0.50",
        "0.75",
        "1.00",
    ]
    assert [text for _, text in ticks(88.2, 93.1, 6)] == ["89", "90", "91", "92", "93"]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_points_that_lie_close_do_not_cover_each_other(width):
    x = [10.0, 5.2, 5.1, 5.0, 4.9]
    y = [100.0, 100.0, 100.0, 99.9, 99.9]
    names = ["baseline", "round 1", "round 2", "round 3", "int8"]
    drawing = Drawing(chart(x, y, names, (Rule("budget", 5.0, upright=True),)), width)
    found = drawing.labels()
    assert found[0].text == "baseline"
    assert len(found) >= 2
    boxes = [box(label) for label in found]
    for at, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= width
        for other in boxes[at + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1]


def test_a_rule_widens_the_range():
    drawing = Drawing(chart([1.0, 2.0], [1.0, 2.0], rules=(Rule("low", 0.5),)), WIDE)
    ((at, _, label),) = drawing.rules()
    assert 14 < at < drawing.bottom
    assert label.text == "low"
    assert at > drawing.at(1.0, 1.0)[1]


def test_one_point_and_none_are_drawn():
    assert Drawing(chart([3.0], [3.0]), WIDE).x_ticks()
    assert Drawing(chart([], []), WIDE).path(chart([], []).series[0]) == ""
