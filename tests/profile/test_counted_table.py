"""Budgets that are not about time: no network is probed for them."""

import pytest
import torch

import edgeprune
from edgeprune.devices.runner import Runner
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark
from edgeprune.profile.counted_table import counted_table
from edgeprune.profile.memory_table import widths_under
from edgeprune.profile.network import profile_network
from edgeprune.records import Plan
from tests.data_sets import coloured_parts
from tests.made_up import FAKE, fake_runner
from tests.nets import Bottom

X = (torch.randn(1, 3, 16, 16),)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    return profile_network(Bottom(16).eval(), Benchmark(fake_runner(), X, folder))


def test_a_layer_takes_its_share_of_the_time_and_less_where_it_is_narrow(profile):
    model, figures = profile.exported.model, profile.figures
    graph = survey(model, X)
    table = counted_table(model, graph, profile.benchmark, figures, memory=False)
    assert table.probes == 0
    whole = widths_under(graph, Plan({}))

    def share(plan):
        return table.share(widths_under(graph, plan).__getitem__, 0.0)

    assert set(whole) >= {(item.layer, 0) for item in table.operators}
    assert share(Plan({})) == pytest.approx(1.0)
    (group, *_) = graph.groups
    halved = Plan({group.name: tuple(range(group.size // 2))})
    costs = {layer.name: layer.latency_ms for layer in figures.layers}
    total = sum(costs.values())
    touched = {member.parameter for member in group.members} & set(costs)
    saved = sum(costs[name] for name in touched) / total / 2
    assert share(halved) == pytest.approx(1 - saved)


@pytest.mark.parametrize(
    "budget", [{"max_macs": "60%"}, {"max_params": "60%"}, {"max_memory_mb": "80%"}]
)
def test_no_network_is_probed(tmp_path, monkeypatch, budget):
    monkeypatch.setattr(Runner, "probe", None)
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    report = edgeprune.compress(
        Bottom(32),
        coloured_parts(),
        budget=budget,
        max_drop=100.0,
        train=False,
        target=FAKE,
        out=tmp_path / "run",
    ).report
    assert report.status == "met"
    assert report.result.latency_ratio <= 1
    assert report.latency_model is None
