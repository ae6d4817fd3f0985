"""What wider groups promise, and how the milliseconds that are left are spent."""

import math

import pytest
import torch

from edgeprune.graph.survey import survey
from edgeprune.prune import solver
from edgeprune.prune.growth import gains, steps_up, widened
from edgeprune.prune.loss import Loss
from edgeprune.prune.problem import plan_of
from edgeprune.records import Budget, pressure_of
from tests.choices import brute_force, choices
from tests.nets import Bottom
from tests.tables import costs_of

X = (torch.randn(1, 3, 8, 8),)


def settings(*, down):
    torch.manual_seed(0)
    model = Bottom(16).eval()
    graph = survey(model, X)
    wide, able = widened(model, graph)
    wide_graph = survey(wide, X)
    costs = costs_of(wide, X, wide_graph, latency_ms=40.0)
    steps = steps_up(graph, wide_graph, down=down)
    costs.steps, costs.blocks = steps, ()
    losses = {
        name: [size / max(width, 1) - 1 for width in range(size + 1)]
        for name, size in (("first", 16), ("second", 32))
    }
    loss = gains(Loss(losses, {}), {"first": 16, "second": 32}, able)
    return graph, costs, loss


def test_a_gain_goes_on_where_the_loss_leaves_off():
    curve = [math.log2(16 / max(width, 1)) for width in range(17)]
    found = gains(Loss({"a": curve, "b": curve}, {}), {"a": 16, "b": 16}, ["a"])
    assert found.widths["a"][:17] == curve
    assert found.widths["a"][32] == pytest.approx(-1.0)  # one more octave
    assert found.widths["a"][24] == pytest.approx(-math.log2(1.5))
    assert len(found.widths["b"]) == 17  # it cannot get wider


def test_growth_alone_takes_nothing_away():
    graph, costs, _ = settings(down=False)
    for group in graph.groups:
        assert min(costs.steps[group.name]) == group.size
        assert max(costs.steps[group.name]) == 2 * group.size
    _, both, _ = settings(down=True)
    assert min(both.steps["first"]) < 16


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("latency_ms", [18.0, 24.0, 32.0])
def test_the_milliseconds_go_where_they_gain_most(down, latency_ms):
    _, costs, loss = settings(down=down)
    budget = Budget(latency_ms=latency_ms)
    found = solver.least_loss(costs, loss, budget)
    assert sum(1 for _ in choices(costs)) > 10
    least = brute_force(costs, loss, budget)
    assert loss.of(found.widths, ()) <= least + 0.02 * abs(least)
    predicted = costs.predict(found.widths)
    assert pressure_of(predicted, budget) <= 1 + 1e-6
    assert loss.of(found.widths, ()) < 0  # something is gained


def test_wider_groups_become_copies_and_narrower_ones_keep_their_best():
    graph, _, _ = settings(down=True)
    scores = {
        "first": torch.arange(16).double(),
        "second": -torch.arange(32).double(),
    }
    solution = solver.Solution({"first": 20, "second": 8}, (), True, 0.0, 0.0)
    plan = plan_of(graph, scores, solution)
    assert plan.copies == {"first": (12, 13, 14, 15)}
    assert plan.kept == {"second": tuple(range(8))}
