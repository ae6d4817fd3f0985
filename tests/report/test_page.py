"""The page of a run: what it shows, and that it opens anywhere."""

import re
from dataclasses import replace

import pytest

from edgeprune.records import Training
from edgeprune.report.details import manner
from edgeprune.report.layer_pictures import changes, skylines, slowest_first
from edgeprune.report.page import render_page
from edgeprune.report.page_charts import accuracy_chart, chart_note, times_chart
from edgeprune.report.score import render_scores
from edgeprune.report.sparsity import render_sparsity
from edgeprune.report.summary import models_of
from edgeprune.report.tiles import Tile
from tests.report.test_score_page import report as score_report
from tests.report.test_sparsity_page import report as sparsity_report
from tests.reports import figures, report

PAGES = {
    "run": lambda: render_page(report()),
    "scores": lambda: render_scores(score_report()),
    "sparsity": lambda: render_sparsity(sparsity_report()),
}
LARGEST = 1_500_000  # bytes


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_no_network_no_script_and_little_room(name):
    page = PAGES[name]()
    assert "<script" not in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert len(page.encode()) < LARGEST / 10  # of a small network


@pytest.mark.parametrize("name", PAGES)
def test_a_reader_who_does_not_see_is_told_what_there_is(name):
    page = PAGES[name]()
    assert '<html lang="en">' in page
    assert page.count("<h1") == 1
    for picture in re.findall(r"<svg[^>]*>", page):
        assert 'role="img"' in picture
        assert re.search(r'aria-label="[^"]{20,}"', picture)
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        assert '<th scope="col"' in table
        assert '<th scope="row"' in table
    scrolled = re.findall(r'<div class="wide[^>]*>', page)
    assert scrolled
    assert all('tabindex="0" aria-label=' in item for item in scrolled)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_dark_screens_and_phones_too(name):
    page = PAGES[name]()
    assert "prefers-color-scheme: dark" in page
    assert page.count('class="for-wide"') == page.count('class="for-narrow"') > 0


def test_names_are_escaped():
    page = render_page(report())
    assert "&lt;b&gt;nets:net" in page
    assert "<b>nets:net" not in page
    assert "output of the network" in page


def test_the_headline_says_what_changed():
    page = render_page(report())
    for piece in ("1.82x faster", "10.00 ms to 5.50 ms", "-1.00 points"):
        assert piece in page
    assert Tile.of("file", 2.0, 4.0, str, "smaller").change == "2.00x as much"
    assert Tile.of("memory", None, 4.0, str, "less") is None


def test_the_plot_shows_every_step_floor_and_budget():
    chart = accuracy_chart(report())
    assert chart.series[0].x == [10.0, 5.5]
    assert chart.series[0].y == [90.0, 89.0]
    assert [(rule.name, rule.value) for rule in chart.rules] == [
        ("floor", 88.0),
        ("budget", 6.0),
    ]
    assert "floor" not in chart_note(report(), chart)


def test_a_floor_far_away_does_not_press_the_points_together():
    steps = [replace(step, accuracy_before_training=0.87) for step in report().steps]
    far = report(accuracy_floor=0.1, steps=tuple(steps), reconstructions=())
    assert [rule.name for rule in accuracy_chart(far).rules] == ["budget"]
    assert "The floor, 10.00 %, is far off" in chart_note(far, accuracy_chart(far))


def test_layers_are_shown_in_their_order_with_what_is_left_of_them():
    before = report().baseline
    layers = before.layers
    narrow = replace(layers[0], output_shape=(1, 2, 8, 8), latency_ms=1.0)
    found = changes(before, replace(before, layers=(narrow, *layers[2:])))
    assert [layer.name for layer in found] == ["first", "second", "head"]
    assert (found[0].after, found[0].ms_after) == (2, 1.0)
    assert (found[1].after, found[1].ms_after) == (0, 0.0)
    assert found[2].share == 1
    wide, phone = skylines(found)
    assert len(wide.columns) == len(phone.columns) == 3
    assert wide.columns[0].kept / wide.columns[0].whole == pytest.approx(
        found[0].share, abs=0.01
    )
    assert wide.columns[1].title.endswith("left out")
    times = [layer.ms_before for layer in slowest_first(found)]
    assert times == sorted(times, reverse=True)
    assert skylines([]) == []


def test_every_file_has_a_curve_of_its_times():
    small = figures(2.0, 0.87)
    models = models_of(report(int8=small))
    chart = times_chart({name: model.timing for name, model in models.items()})
    assert [series.name.split(",")[0] for series in chart.series] == [
        "baseline",
        "result",
        "result",
    ]
    for series in chart.series:
        assert list(series.x) == sorted(series.x)
        assert max(series.y) <= 100


def test_the_page_says_how_a_network_was_trained():
    training = Training(
        "finetune 1", 0.8, (), 0, "float32", "contiguous", distilled=True, seed=0
    )
    assert manner(training) == "distilled from the original; steps by sgd"
    shown = manner(replace(training, hints=("layer1", "body.2"), optimizer="muon"))
    assert "feature maps of layer1, body.2, too" in shown
    assert "steps by muon" in shown
