import pytest
import torch
from torch import nn

from edgeprune.graph.cost import count
from edgeprune.graph.groups import analyse
from edgeprune.graph.surgery import apply
from edgeprune.graph.trace import trace
from edgeprune.measure.bench import parameter_shapes
from edgeprune.prune import planner
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import Attempt, Budget
from tests.figures import figures_of
from tests.nets import Bottom, CifarResNet

X = (torch.randn(1, 3, 8, 8),)


class Bench:
    """A device whose time is known: proportional to MACs, widths in steps of 8."""

    def __init__(self, model, inputs=X, slower=1.0):
        self.model, self.inputs, self.slower = model, inputs, slower
        self.graph = analyse(model, inputs)
        self.count = count(trace(model, inputs))
        self.baseline = figures_of(self.count, latency_ms=10.0)
        self.calls = 0

    def problem(self, budget, step=1):
        generator = torch.Generator().manual_seed(0)
        scores = {
            group.name: torch.rand(group.size, generator=generator)
            for group in self.graph.groups
        }
        cost = CostModel(self.graph, self.baseline, parameter_shapes(self.model))
        return planner.Problem(self.graph, scores, cost, budget, step)

    def measure(self, budget):
        def measured(plan, number, predicted_ms):
            self.calls += 1
            pruned = apply(self.model, self.graph, plan)
            cost = count(trace(pruned, self.inputs))
            latency_ms = 10.0 * (cost.macs / self.count.macs) * self.slower
            return Attempt(
                round=number,
                widths={name: len(kept) for name, kept in plan.kept.items()},
                kept_share=cost.params / self.count.params,
                predicted_ms=predicted_ms,
                latency_ms=latency_ms,
                macs=cost.macs,
                params=cost.params,
                size_bytes=4 * cost.params,
                within_budget=budget.latency_ms is None
                or latency_ms <= budget.latency_ms,
            )

        return measured


@pytest.mark.parametrize("make", [Bottom, lambda: CifarResNet(2)])
def test_predicted_counts_are_the_counts_after_surgery(make):
    model, inputs = make(), (torch.randn(1, 3, 16, 16),)
    bench = Bench(model, inputs)
    problem = bench.problem(Budget(latency_ms=6.0))
    widths = planner.choose_widths(problem)
    plan = planner.plan_of(bench.graph, problem.scores, widths)
    pruned = apply(model, bench.graph, plan)
    cost, predicted = count(trace(pruned, inputs)), problem.model.predict(widths)
    assert cost.macs < bench.count.macs
    assert predicted.macs == pytest.approx(cost.macs)
    assert predicted.params == pytest.approx(cost.params)


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.4])
def test_the_closed_loop_ends_under_the_budget_and_close_to_it(slower):
    """The estimate may be off by 40 %: measuring corrects it."""
    bench, budget = Bench(Bottom(64), slower=slower), Budget(latency_ms=5.0)
    found = planner.search(bench.problem(budget), bench.measure(budget))
    assert found.fits
    assert 0.85 * 5.0 <= found.attempt.latency_ms <= 5.0
    assert bench.calls <= planner.ROUNDS


def test_counts_are_met_exactly_and_at_once():
    bench = Bench(Bottom(64))
    budget = Budget(macs=bench.count.macs // 2, params=bench.count.params // 2)
    found = planner.search(bench.problem(budget), bench.measure(budget))
    assert found.attempt.macs <= budget.macs
    assert found.attempt.params <= budget.params


def test_a_budget_out_of_reach_ends_with_the_nearest_plan():
    bench, budget = Bench(Bottom(16)), Budget(latency_ms=1e-6)
    found = planner.search(bench.problem(budget, step=8), bench.measure(budget))
    assert not found.fits
    assert all(len(kept) == 1 for kept in found.plan.kept.values())


def test_widths_are_multiples_of_the_step():
    bench = Bench(Bottom(64))
    widths = planner.choose_widths(bench.problem(Budget(latency_ms=4.0), step=16))
    assert all(width % 16 == 0 for width in widths.values())


def test_a_channel_of_several_positions_counts_them_all():
    model = nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, groups=2), nn.Conv2d(32, 4, 1)
    )
    group = analyse(model, X).group("0")
    assert group.granularity == 2
    assert planner.ladder(group, 8) == [4, 8, 12, 16]


def test_the_lowest_scores_go_and_each_counts_for_more_the_fewer_are_left():
    losses = planner.lost(torch.tensor([4.0, 1.0, 2.0]))
    assert losses == pytest.approx([1 + 2 * 3 / 2 + 4 * 3, 1 + 2 * 3 / 2, 1, 0])


def test_the_channels_with_the_largest_scores_stay():
    bench = Bench(Bottom(4))
    scores = {"first": torch.tensor([0.1, 3.0, 0.2, 2.0])}
    plan = planner.plan_of(bench.graph, scores, {"first": 2, "second": 8})
    assert plan.kept == {"first": (1, 3)}


def test_a_cheap_group_goes_before_a_dear_one():
    """Equal relief per channel, unequal loss."""
    bench = Bench(
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1))
    )
    problem = bench.problem(Budget(latency_ms=9.0))
    scores = {"0": torch.full((8,), 100.0), "1": torch.full((8,), 1.0)}
    widths = planner.choose_widths(planner.replace(problem, scores=scores))
    assert widths["0"] == 8
    assert widths["1"] < 8
