"""Layers beside the roofline, on the page and in the terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from edgeprune.measure.benchmark import Benchmark
from edgeprune.profile.network import profile_network
from edgeprune.records import Roofline
from edgeprune.report.nearness import nearness_of, roofline_text
from edgeprune.report.page import render_page
from edgeprune.report.terminal import ProfileView, show_profile
from tests.figures import timing_of
from tests.reports import figures, report

ROOFLINE = Roofline(1000.0, ((100.0, 0.5), (1000.0, 1.0)))


def known(**more):
    """Figures whose first layer has 4000 MACs and moves 800 bytes in 8 ms."""
    held = figures()
    first = replace(
        held.layers[0], macs=4000, moved_bytes=800, latency_ms=8.0, name="first.weight"
    )
    layers = (first, *held.layers[1:])
    return replace(held, layers=layers, roofline=ROOFLINE, profiled_ms=9.0, **more)


def test_the_longer_of_computing_and_moving_counts():
    layer = known().layers[0]
    assert nearness_of(layer, ROOFLINE).text == "50% (compute)"
    light = replace(layer, macs=10, latency_ms=1.0, moved_bytes=550)
    assert nearness_of(light, ROOFLINE).short == "75% M"
    assert nearness_of(layer, None) is None
    assert nearness_of(replace(layer, moved_bytes=None), ROOFLINE) is None
    assert nearness_of(replace(layer, latency_ms=None), ROOFLINE) is None


def test_sums_stand_beside_the_whole():
    timing = timing_of(9.0, 11.0, 30.0, 40.0)  # of which the quicker half counts
    told = roofline_text(known(timing=timing))
    assert "by which all layers would take 4.00 ms" in told
    assert "all operators take 9.00 ms; without it the whole takes 10.00 ms" in told
    assert told.endswith("(-10%)")
    assert roofline_text(figures()) == ""


def test_a_page_has_it_where_it_was_measured():
    page = render_page(report(result=known()))
    assert "50% (compute)" in page
    assert "Roofline: its runtime reaches" in page
    assert "of roofline" not in render_page(report())


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    import torch

    from edgeprune import targets
    from edgeprune.devices.runner import runner_for
    from tests.made_up import FAKE
    from tests.nets import Bottom

    folder = tmp_path_factory.mktemp("profiled")
    runner = runner_for(targets.load(FAKE))
    benchmark = Benchmark(runner, (torch.zeros(1, 3, 32, 32),), folder)
    return profile_network(Bottom().eval(), benchmark)


def test_a_profile_says_how_near_layers_are(profiled):
    found = profiled.figures
    assert found.profiled_ms == pytest.approx(found.summary.median_ms, rel=0.01)
    first, second, _ = (nearness_of(item, found.roofline) for item in found.layers)
    assert first.bound == second.bound == "compute"
    assert 0.25 < first.share < second.share <= 1  # 3 channels count as 8
    text = io.StringIO()
    view = ProfileView("net", "made up", found, profiled.graph)
    show_profile(Console(file=text, width=120), view)
    assert "of roofline" in text.getvalue()
    assert "C: limited by computing" in text.getvalue()
