import pytest
import torch
from torch import nn

from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark
from edgeprune.profile.latency_table import draw_plans, measure_latency_table
from tests.made_up import QUICK, fake_runner
from tests.nets import Bottom, CifarResNet

pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

RECIPE = targets.load(QUICK).probing


@pytest.fixture
def benchmark(tmp_path):
    """On a made-up device."""
    return Benchmark(fake_runner(), (torch.randn(1, 3, 16, 16),), tmp_path)


def probed(benchmark):
    """How many networks were timed for latency tables."""
    jobs = benchmark.runner.transport.jobs
    return sum(len(files) - 1 for job, files in jobs if job.mode == "probe")


def table(model, benchmark):
    return measure_latency_table(model, survey(model, benchmark.inputs), benchmark)


def test_a_second_run_measures_nothing(benchmark):
    first = table(Bottom(32).eval(), benchmark)
    assert 0 < probed(benchmark) <= RECIPE.networks
    before = probed(benchmark)
    second = table(Bottom(32).eval(), benchmark)  # other weights, the same structure
    assert probed(benchmark) == before
    assert second == first


@pytest.mark.parametrize("other", ["model", "threads", "input", "form", "file"])
def test_another_network_or_runtime_is_measured(
    benchmark, other, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    table(Bottom(32).eval(), benchmark)
    before = probed(benchmark)
    model, runner, inputs = Bottom(32).eval(), benchmark.runner, benchmark.inputs
    if other == "model":
        model = Bottom(24).eval()
    if other == "threads":
        runner = runner.with_threads(2)
    if other == "input":
        inputs = (torch.randn(1, 3, 8, 8),)
    if other == "file":
        (held,) = (tmp_path / "cache" / "latency").iterdir()
        held.write_text(held.read_text()[:-20])
    table(
        model,
        Benchmark(runner, inputs, benchmark.folder, shortcuts_as_conv=other == "form"),
    )
    assert probed(benchmark) > before


def test_every_layer_has_its_time_on_this_machine(benchmark):
    runner = runner_for(targets.load(QUICK))
    here = Benchmark(runner, benchmark.inputs, benchmark.folder)
    found = table(CifarResNet(1).eval(), here)
    layers = {item.layer for item in found.operators}
    assert {"conv1.weight", "layer2.0.conv2.weight", "linear.weight"} <= layers
    assert len(found.errors) == found.probes
    assert all(
        item.read is None or item.read[0].endswith("weight") for item in found.operators
    )


def test_plans_have_widths_to_choose_from_and_are_the_same_again():
    graph = survey(CifarResNet(2).eval(), (torch.randn(1, 3, 16, 16),))
    plans = draw_plans(graph, 20, seed=3)
    assert plans == draw_plans(graph, 20, seed=3)
    assert plans != draw_plans(graph, 20, seed=4)
    widths = {group.name: group.widths() for group in graph.groups}
    for plan in plans:
        assert all(len(kept) in widths[name] for name, kept in plan.kept.items())


class Cut(nn.Module):
    """A split by widths that are written into the file: it cannot be cut to size."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.second = nn.Conv2d(16, 16, 1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        one, two = torch.chunk(self.first(x), 2, dim=1)
        return self.last(self.second(one) + two)


def test_a_network_that_cannot_be_cut_is_exported_each_time(benchmark):
    found = table(Cut().eval(), benchmark)
    assert found.operators
    assert probed(benchmark) <= RECIPE.networks
