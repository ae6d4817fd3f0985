"""Factored layers: exact at full rank, priced as they are, chosen where they pay."""

import itertools

import numpy as np
import pytest
import tensorly
import torch
from torch import nn

from edgeprune.graph.cost import count
from edgeprune.graph.factored import Factored, factorable, structure_of
from edgeprune.graph.surgery import apply, apply_surgery_, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import trace
from edgeprune.measure.benchmark import parameter_shapes
from edgeprune.prune import program, solver
from edgeprune.prune.loss import Loss, lost
from edgeprune.prune.low_rank import (
    bayesian_ranks,
    energies,
    factored,
    factored_layer,
)
from edgeprune.prune.low_rank_costs import LowRankCosts, Plain, rank_groups
from edgeprune.prune.vbmf import rank_of
from edgeprune.records import Budget, Plan, Surgery, pressure_of
from tests.choices import brute_force, choices, named, value_of
from tests.figures import figures_of
from tests.nets import Bottom
from tests.tables import table_of

LAYERS = {
    "kernel": lambda: nn.Conv2d(20, 30, 3, 2, 1),
    "wide kernel": lambda: nn.Conv2d(20, 40, (3, 5), padding=(1, 2), dilation=2),
    "reflected": lambda: nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
    "few inputs": lambda: nn.Conv2d(2, 40, 3, padding=1, bias=False),
    "pointwise": lambda: nn.Conv2d(24, 18, 1, stride=2),
    "signal": lambda: nn.Conv1d(16, 24, 5, padding=2),
    "volume": lambda: nn.Conv3d(16, 16, 3, padding=1),
    "linear": lambda: nn.Linear(20, 35),
    "plain linear": lambda: nn.Linear(35, 20, bias=False),
}


def input_of(layer):
    if isinstance(layer, nn.Linear):
        return torch.randn(3, layer.in_features).double()
    sides = {nn.Conv1d: (9,), nn.Conv2d: (9, 11), nn.Conv3d: (5, 5, 5)}[type(layer)]
    return torch.randn(2, layer.in_channels, *sides).double()


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_at_full_rank_is_the_same(name):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = input_of(layer)
    with torch.no_grad():
        assert relative(factored_layer(layer)(x), layer(x)) < 1e-12


def test_fewer_ranks_are_the_truncated_higher_order_svd():
    torch.manual_seed(0)
    layer = nn.Conv2d(20, 30, 3, bias=False).double()
    whole = factored_layer(layer)
    inner, outer = 7, 11
    whole.requires_grad_(False)
    layer.requires_grad_(False)
    core = whole.core.weight[:outer, :inner]
    kernel = torch.einsum(
        "oa,abhw,bi->oihw",
        whole.last.weight[:, :outer, 0, 0],
        core,
        whole.first.weight[:inner, :, 0, 0],
    )
    expected = weight = layer.weight.detach().numpy()
    for axis, rank in ((0, outer), (1, inner)):
        vectors = np.linalg.svd(tensorly.unfold(weight, axis))[0][:, :rank]
        projection = vectors @ vectors.T
        expected = tensorly.tenalg.mode_dot(expected, projection, axis)
    assert relative(kernel, torch.from_numpy(expected)) < 1e-10
    error = float((kernel - layer.weight).norm() / layer.weight.norm())
    assert 0.1 < error < 1


def test_what_ranks_carry_falls_and_adds_up_to_the_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(20, 30, 3), nn.ReLU(), nn.Conv2d(30, 20, 1))
    changed = factored(model, ["0", "2"])
    for layer in ("0", "2"):
        for values in energies(changed, layer).values():
            assert (values.diff() <= 1e-5).all()
            weight = model.get_submodule(layer).weight.detach()
            assert float(values.norm()) == pytest.approx(float(weight.norm()), rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "rank"), [((60, 100), 7), ((200, 50), 12), ((64, 576), 20)]
)
def test_variational_bayes_finds_the_planted_rank(shape, rank):
    rng = np.random.default_rng(0)
    planted = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    assert rank_of(planted + 0.5 * rng.normal(size=shape)) == rank
    assert rank_of(rng.normal(size=shape)) == 0
    assert rank_of(np.zeros(shape)) == 0


def test_ranks_of_a_kernel_are_those_of_its_unfoldings():
    torch.manual_seed(0)
    layer = nn.Conv2d(40, 60, 3)
    with torch.no_grad():
        core = torch.randn(9, 5, 3, 3)
        low = torch.einsum(
            "oa,abhw,ib->oihw", torch.randn(60, 9), core, torch.randn(40, 5)
        )
        layer.weight.copy_(low + 0.5 * torch.randn(60, 40, 3, 3))
    assert bayesian_ranks(layer) == (5, 9)


class Kinds(nn.Module):
    """Layers that can be factored, and others that cannot."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.body = nn.Conv2d(32, 48, 3, padding=1)
        self.point = nn.Conv2d(48, 32, 1)
        self.borrowed = nn.Conv2d(32, 32, 1)
        self.head = nn.Linear(32, 20)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.stem(x))))
        x = torch.relu(self.point(torch.relu(self.body(x))))
        x = nn.functional.conv2d(x, self.borrowed.weight)
        return self.head(x.mean((2, 3)))


def test_only_dense_layers_that_stand_alone_are_factored():
    torch.manual_seed(0)
    model = Kinds().double().eval()
    x = torch.randn(2, 3, 8, 8).double()
    graph = survey(model, (x,))
    assert factorable(model, graph) == ("body", "point", "head")
    changed = factored(model, factorable(model, graph)).eval()
    with torch.no_grad():
        assert relative(changed(x), model(x)) < 1e-12
    again = survey(changed, (x,))
    assert factorable(changed, again) == ()
    assert rank_groups(again, "body") == {"body.first", "body.core"}
    assert rank_groups(again, "head") == {"head.first"}


def test_factoring_and_pruning_compose_in_either_order_and_come_back():
    torch.manual_seed(0)
    model = Kinds().double().eval()
    x = torch.randn(2, 3, 8, 8).double()
    graph = survey(model, (x,))
    before = Plan({"body": tuple(range(0, 48, 2)), "stem": tuple(range(6))})
    surgery = plan_surgery(model, graph, before)
    model_1 = apply(model, graph, before)
    model_2 = factored(model_1, ["body", "head"])
    surgery = surgery.then(Surgery(factored=("body", "head")))
    graph_2 = survey(model_2, (x,))
    after = Plan(
        {
            "body.first": tuple(range(10)),
            "body.core": tuple(range(12)),
            "body.last": tuple(range(5, 20)),
            "head.first": tuple(range(6)),
            "stem": tuple(range(1, 5)),
        }
    )
    surgery = surgery.then(plan_surgery(model_2, graph_2, after))
    model_3 = apply(model_2, graph_2, after).eval()
    assert isinstance(model_3.body, Factored)
    assert model_3.body.core.weight.shape[:2] == (12, 10)
    rebuilt = Kinds().double().eval()
    apply_surgery_(rebuilt, surgery)
    rebuilt.load_state_dict(model_3.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(x), model_3(x))


class Twice(nn.Module):
    """A residual block of two layers, either of which may be factored, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.block = nn.Sequential()
        self.block.add_module("narrow", nn.Conv2d(16, 24, 3, padding=1))
        self.block.add_module("act", nn.ReLU())
        self.block.add_module("wide", nn.Conv2d(24, 16, 1))
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head(x + self.block(x))


X = (torch.randn(1, 3, 8, 8),)


def low_rank_costs(make):
    """Made-up devices: one on which the factored layers are not all alike."""
    torch.manual_seed(0)
    model = make().eval()
    graph = survey(model, X)
    layers = factorable(model, graph)
    whole = factored(model, layers).eval()
    whole_graph = survey(whole, X)
    plain, changed = (count(trace(item, X)) for item in (model, whole))
    steps = {group.name: group.widths() for group in whole_graph.groups}
    for layer in layers:
        for name in rank_groups(whole_graph, layer):
            steps[name] = [4, 8, whole_graph.group(name).size]
    return LowRankCosts(
        whole_graph,
        table_of(whole_graph, changed),
        original_ms=10.0 * changed.macs / plain.macs,
        figures=figures_of(changed, 10.0),
        shapes=parameter_shapes(whole),
        layers=layers,
        plain=Plain(
            table_of(graph, plain),
            9.0,  # the plain layers are a little faster than their operations say
            plain.layers,
            parameter_shapes(model),
        ),
        steps=steps,
    )


def random_losses(costs):
    rng = np.random.default_rng(0)
    widths = {
        name: lost(torch.tensor(rng.random(size))) for name, size in costs.sizes.items()
    }
    blocks = {
        block.name: 0.0 if block.name in costs.choices else float(rng.uniform(5, 20))
        for block in costs.blocks
    }
    return Loss(widths, blocks)


BUDGETS = [
    Budget(latency_ms=7.0),
    Budget(latency_ms=4.0),
    Budget(latency_ms=2.0),
    Budget(macs=120_000),
    Budget(params=2500),
]


@pytest.mark.parametrize("make", [lambda: Bottom(16), Twice], ids=["bottom", "twice"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_factoring_pruning_and_leaving_are_chosen_together(make, budget):
    costs = low_rank_costs(make)
    loss = random_losses(costs)
    assert sum(1 for _ in choices(costs)) < 40_000
    least = brute_force(costs, loss, budget)
    found = solver.least_loss(costs, loss, budget)
    assert least is not None
    assert found.feasible
    predicted = costs.predict(named(costs, found), found.bypassed)
    assert pressure_of(predicted, budget) <= 1 + 1e-6
    mine = loss.of(named(costs, found), found.bypassed)
    assert mine <= least * (1 + 2 * program.GAP) + 1e-9


def test_each_of_them_is_the_choice_somewhere():
    """Else the test above would be of a solver that never factors, or always."""
    costs = low_rank_costs(Twice)
    loss = random_losses(costs)
    chosen = {
        layer in solver.least_loss(costs, loss, budget).bypassed
        for budget in BUDGETS
        for layer in costs.choices
    }
    assert chosen == {True, False}


@pytest.mark.parametrize("make", [lambda: Bottom(16), Twice], ids=["bottom", "twice"])
def test_cost_tables_add_up_to_the_prediction(make):
    costs = low_rank_costs(make)
    tables = costs.cost_tables(costs.predict({}).params)
    for widths, bypassed in itertools.islice(choices(costs), 0, None, 31):
        predicted = costs.predict(widths, bypassed)
        for resource in ("latency_ms", "macs", "params"):
            total = sum(
                value_of(table, resource, costs.steps, widths)
                for table in tables
                if (table.instead in bypassed if table.instead else True)
                and not set(table.blocks) & set(bypassed)
            )
            assert total == pytest.approx(getattr(predicted, resource), rel=1e-6)


def test_a_network_left_plain_costs_what_the_plain_one_costs():
    costs = low_rank_costs(Twice)
    plain = costs.predict({}, tuple(costs.choices))
    torch.manual_seed(0)
    counted = count(trace(Twice().eval(), X))
    assert plain.macs == pytest.approx(counted.macs)
    assert plain.params == pytest.approx(counted.params)

    factored_macs = costs.predict({}).macs
    assert factored_macs > plain.macs


def test_the_structure_has_the_shapes_of_the_values():
    for make in LAYERS.values():
        layer = make()
        shapes = [tuple(p.shape) for p in structure_of(layer).parameters()]
        assert shapes == [tuple(p.shape) for p in factored_layer(layer).parameters()]
