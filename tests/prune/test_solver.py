"""The solver against every choice there is, on networks small enough to try them."""

import ctypes
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.prune import program, solver
from edgeprune.prune.loss import Loss, lost
from edgeprune.records import Budget, pressure_of
from tests.choices import Concatenated, Residual, brute_force, choices, named, value_of
from tests.nets import Bottom
from tests.tables import costs_of

X = (torch.randn(1, 3, 8, 8),)
CHOICES = 20_000


def losses(costs, seed=0):
    rng = np.random.default_rng(seed)
    return Loss(
        {
            name: lost(torch.tensor(rng.random(size)))
            for name, size in costs.sizes.items()
        },
        {block.name: float(rng.uniform(1, 20)) for block in costs.blocks},
    )


BUDGETS = [
    Budget(latency_ms=7.0),
    Budget(latency_ms=3.0),
    Budget(macs=60_000),
    Budget(params=1500),
    Budget(size_bytes=6000),
    Budget(memory_bytes=9000),
    Budget(latency_ms=6.0, params=2500, memory_bytes=10_000),
]


@pytest.mark.parametrize(("precision", "each"), [("fp32", 4), ("int8", 1)])
def test_a_file_has_room_for_as_many_weights_as_its_precision_says(precision, each):
    model = Bottom(32).eval()
    whole = sum(value.numel() for value in model.parameters())
    size = 1000 + each * whole  # with what is written beside the weights
    graph = build_channel_graph(model, X)
    costs = costs_of(model, X, graph, size_bytes=size, precision=precision)
    limit = Budget(size_bytes=1000 + each * whole // 2)
    assert costs.params_of(limit.size_bytes) == pytest.approx(whole / 2, abs=1)
    found = solver.least_loss(costs, losses(costs), limit)
    predicted = costs.predict(found.widths, found.bypassed)
    assert found.feasible
    assert 0.8 * whole / 2 < predicted.params <= whole / 2 + 1
    assert predicted.size_bytes == pytest.approx(1000 + each * predicted.params)


@pytest.mark.parametrize("make", [lambda: Bottom(32), Residual, Concatenated])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("block", [1, 16])
def test_no_choice_within_the_budget_loses_less(make, budget, block):
    model = make().eval()
    if block > 1 and isinstance(model, Concatenated):
        pytest.skip("time over a sum of groups is taken as a straight line")
    costs = costs_of(model, X, build_channel_graph(model, X), block=block)
    loss = losses(costs)
    assert sum(1 for _ in choices(costs)) < CHOICES
    least = brute_force(costs, loss, budget)
    found = solver.least_loss(costs, loss, budget)
    if least is None:
        assert not found.feasible
        return
    assert found.feasible
    assert found.gap is not None
    predicted = costs.predict(named(costs, found), found.bypassed)
    assert pressure_of(predicted, budget) <= 1 + 1e-6
    mine = loss.of(named(costs, found), found.bypassed)
    assert mine <= least * (1 + 2 * program.GAP) + 1e-9


def test_the_budgets_of_these_tests_bind():
    """Else the test above would be of a solver that may answer `all of it`."""
    model = Residual().eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    whole = costs.predict({})
    assert all(pressure_of(whole, budget) > 1 for budget in BUDGETS)


@pytest.mark.parametrize("make", [lambda: Bottom(32), Residual, Concatenated])
def test_cost_tables_add_up_to_the_prediction(make):
    """What the solver sees of a choice is what the model predicts for it."""
    model = make().eval()
    costs = costs_of(model, X, build_channel_graph(model, X), block=1)
    steps = costs.steps
    tables = costs.cost_tables(costs.predict({}).params)
    for widths, bypassed in itertools.islice(choices(costs), 0, None, 7):
        predicted = costs.predict(widths, bypassed)
        for resource in ("latency_ms", "macs", "params"):
            total = sum(
                value_of(table, resource, steps, widths)
                for table in tables
                if not set(table.blocks) & set(bypassed)
            )
            assert total == pytest.approx(getattr(predicted, resource), rel=1e-6)


def test_a_budget_out_of_reach_gives_the_fastest_choice():
    model = Residual().eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    found = solver.least_loss(costs, losses(costs), Budget(latency_ms=1e-6))
    assert not found.feasible
    assert set(found.bypassed) == {"first", "second"}
    least = min(costs.predict(*choice).latency_ms for choice in choices(costs))
    fastest = costs.predict(named(costs, found), found.bypassed).latency_ms
    assert fastest == pytest.approx(least, rel=program.GAP)


def test_without_time_there_is_a_greedy_answer_and_a_note():
    model = Bottom(32).eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    budget = Budget(latency_ms=5.0)
    found = solver.least_loss(costs, losses(costs), budget, time_limit_s=0.0)
    assert "greedy" in found.note
    assert found.gap is None
    assert pressure_of(costs.predict(found.widths), budget) <= 1


def test_the_fastest_network_with_a_share_of_the_channels():
    model = Residual().eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    whole = sum(costs.sizes.values())
    for share in (0.3, 0.6):
        found = solver.fastest(costs, channels=share)
        mine = costs.predict(named(costs, found), found.bypassed).latency_ms
        best = min(
            costs.predict(widths, bypassed).latency_ms
            for widths, bypassed in choices(costs)
            if sum(widths.values()) >= share * whole
        )
        assert mine == pytest.approx(best, rel=program.GAP)


def test_the_fastest_network_keeps_other_limits():
    model = Residual().eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    budget = Budget(params=700)
    found = solver.fastest(costs, budget=budget)
    assert costs.predict(named(costs, found), found.bypassed).params <= 700
    none = solver.fastest(costs, budget=Budget(params=1))
    assert not none.feasible
    assert set(none.bypassed) == {"first", "second"}


def test_a_network_without_groups_has_one_choice():
    model = nn.Linear(4, 2).eval()
    inputs = (torch.randn(1, 4),)
    costs = costs_of(model, inputs, build_channel_graph(model, inputs))
    assert solver.least_loss(costs, Loss({}, {}), Budget(latency_ms=20.0)).feasible
    assert not solver.least_loss(costs, Loss({}, {}), Budget(latency_ms=1.0)).feasible


def test_what_the_library_prints_goes_nowhere(monkeypatch, capfd):
    """It does so rarely, through the C library, whatever its options say."""
    found = program.milp

    def noisy(*arguments, **options):
        ctypes.CDLL(None).puts(b"a line of the library")
        return found(*arguments, **options)

    monkeypatch.setattr(program, "milp", noisy)
    model = Bottom(32).eval()
    costs = costs_of(model, X, build_channel_graph(model, X))
    solver.least_loss(costs, losses(costs), Budget(latency_ms=5.0))
    ctypes.CDLL(None).fflush(None)
    print("mine")
    assert capfd.readouterr().out == "mine\n"
