"""Networks as users write them: what is found, and that it goes exactly."""

import copy

import pytest
import torch

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.records import Plan
from tests.prepared import prepared, run
from tests.reference import random_plan, relative_difference, zero_consumers
from tests.user_nets import NETWORKS

EXACT = 1e-11


@pytest.mark.parametrize("name", NETWORKS)
def test_the_groups_are_those_that_an_expert_would_name(name):
    model, inputs, expected, approximate = prepared(name)
    graph = survey(model, inputs)
    found = {group.name: (group.size, group.granularity) for group in graph.groups}
    assert found == expected
    assert {group.name for group in graph.groups if group.approximate} == set(
        approximate
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_groups_go_exactly(name):
    model, inputs, _, approximate = prepared(name)
    graph = survey(model, inputs)
    plan = random_plan(graph, 0)
    plan = Plan({k: v for k, v in plan.kept.items() if k not in approximate})
    pruned = run(apply(model, graph, plan), inputs)
    assert (
        relative_difference(pruned, run(zero_consumers(model, graph, plan), inputs))
        < EXACT
    )
    assert relative_difference(pruned, run(model, inputs)) > 1e-6


def test_a_trace_leaves_nothing_in_the_model():
    model, inputs, _, _ = prepared("keeping")
    survey(model, inputs)
    assert model.seen is None
    assert model.grid is None
    run(model, inputs)
    survey(model, inputs)
    assert type(model.seen) is int
    assert type(model.grid) is torch.Tensor


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_may_go_down_to_one_channel(name):
    model, inputs, _, _ = prepared(name)
    graph = build_channel_graph(model, inputs)
    state = copy.deepcopy(model.state_dict())
    pruned = apply(model, graph, Plan({group.name: (0,) for group in graph.groups}))
    assert run(pruned, inputs).shape == run(model, inputs).shape
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in state)
    survey(pruned, inputs)  # what is left can be looked at again
