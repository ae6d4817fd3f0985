import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.surgery import apply
from edgeprune.records import GroupScores, Plan, Scores
from edgeprune.score.context import Context
from edgeprune.score.sensitivity import (
    FEW,
    FEWEST,
    LEAST,
    MAPS,
    OutputErrorEvaluator,
    measure_sensitivity,
    measured_widths,
    unexplained,
)
from tests.nets import CifarResNet

X = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def context_of(model):
    model.eval()
    batches = TensorBatches(X, torch.zeros(len(X), dtype=torch.long), Reading(32))
    return Context(model, build_channel_graph(model, (X[:1],)), batches)


def rising(graph):
    """Scores by which the last channels stay."""
    return Scores(
        "made up",
        tuple(
            GroupScores(group.name, tuple(float(n) for n in range(group.size)))
            for group in graph.groups
        ),
        0,
        0.0,
        0,
    )


def outputs_of(net):
    """Batch norms go by what they are given, in two equal parts."""
    net = copy.deepcopy(net).train()
    with torch.no_grad():
        return torch.cat([net(part).double() for part in X.tensor_split(2)])


def reference(model, changed):
    before, after = (outputs_of(net).numpy() for net in (model, changed))
    before, after = ((y - y.mean(0)).ravel() for y in (before, after))
    norms = np.linalg.norm(before) * np.linalg.norm(after)
    return -2 * math.log(before @ after / norms)


class Looks(CifarResNet):
    """Its code looks at values: another sample may take another way."""

    def forward(self, x):
        return (
            super().forward(x)
            if float(x.detach().sum()) > 1e9
            else super().forward(x / 2)
        )


def test_code_that_looks_at_values_runs_for_each_network():
    context = context_of(Looks(2))
    assert context.graph.traced.by_value
    judge = OutputErrorEvaluator(context, 10)
    plan = Plan({group.name: tuple(range(4)) for group in context.graph.groups[:1]})
    found = outputs_of(apply(context.model, context.graph, plan))
    expected = unexplained(outputs_of(context.model), found)
    assert judge.error(plan) == pytest.approx(expected, rel=1e-4)


def test_each_loss_is_that_of_the_network_that_surgery_makes():
    torch.manual_seed(0)
    context = context_of(CifarResNet(2))
    graph, model = context.graph, context.model
    found = measure_sensitivity(context, rising(graph), ["layer1.1", "layer3.1"])
    for item in found.groups[::3]:
        size = graph.group(item.name).size
        kept = tuple(range(size - item.width, size))
        changed = apply(model, graph, Plan({item.name: kept}))
        assert item.loss == pytest.approx(reference(model, changed), rel=1e-4)
        assert item.loss > 0
    for name, loss in found.blocks.items():
        changed = apply(model, graph, Plan({}, (name,)))
        assert loss == pytest.approx(reference(model, changed), rel=1e-4)


def test_a_useless_group_and_a_useless_block_lose_nothing():
    model = CifarResNet(2)
    with torch.no_grad():
        model.layer2[1].bn2.weight.zero_()
        model.layer2[1].bn2.bias.zero_()
    context = context_of(model)
    found = measure_sensitivity(
        context, rising(context.graph), ["layer2.1", "layer3.1"]
    )
    assert found.blocks["layer2.1"] == pytest.approx(0, abs=1e-9)
    assert found.blocks["layer3.1"] > 1e-6
    inner = [item.loss for item in found.groups if item.name == "layer2.1.conv1"]
    assert inner == pytest.approx([0] * len(inner), abs=1e-9)


def test_the_model_is_left_as_it_was():
    context = context_of(CifarResNet(1))
    before = {key: value.clone() for key, value in context.model.state_dict().items()}
    measure_sensitivity(context, rising(context.graph), [])
    after = context.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_widths_are_some_of_those_to_choose_from():
    graph = context_of(CifarResNet(1)).graph
    for group in graph.groups:
        assert set(measured_widths(group)) <= set(group.widths()[:-1])
        assert measured_widths(group)


def test_independent_errors_add_up_however_large():
    torch.manual_seed(0)
    one = torch.randn(40_000, 10).double()
    some, both = (one + 2 * torch.randn_like(one) for _ in range(2)), one
    losses = [unexplained(one, each) for each in some]
    for _ in losses:  # noise of four times what is there so far
        both = both + 2 * both.norm() / one.norm() * torch.randn_like(one)
    assert losses == pytest.approx([math.log(5)] * 2, rel=0.02)
    assert unexplained(one, both) == pytest.approx(sum(losses), rel=0.02)


def test_what_is_unexplained_where_little_is_to_be_said():
    one = torch.randn(400, 10).double()
    still = torch.ones(4, 10).double()
    worst = -math.log(LEAST)
    assert unexplained(one, one) == 0
    assert unexplained(one, one.mean(0) + 3 * (one - one.mean(0))) < 1e-12
    assert unexplained(one, one + 1) > 0.1
    assert unexplained(one, torch.zeros_like(one) + one.mean(0)) == worst
    assert unexplained(one, -one) == worst
    assert unexplained(one, one * torch.nan) == worst
    assert unexplained(still, still) == 0
    assert unexplained(still, 2 * still) == worst


def test_a_judge_tells_the_error_of_channels_and_blocks_together():
    context = context_of(CifarResNet(2))
    name = context.graph.groups[0].name
    plan = Plan({name: (0, 1, 2)}, ("layer3.1",))
    judge = OutputErrorEvaluator(context, 20)  # time for all samples
    assert judge.samples == len(X)
    changed = apply(context.model, context.graph, plan)
    outputs = (outputs_of(net) for net in (context.model, changed))
    assert judge.error(plan) == pytest.approx(unexplained(*outputs), rel=1e-4)


@pytest.mark.parametrize(("channels", "samples"), [(64, FEWEST), (128, FEW)])
def test_where_a_sample_has_a_map_of_outputs_few_samples_are_looked_at(
    channels, samples, monkeypatch
):
    """Of a network that is too large for more: 64 and 128 maps of 16x16."""
    assert channels * X[0, 0].numel() >= MAPS or samples == FEWEST
    monkeypatch.setattr("edgeprune.score.sensitivity.ALLOWANCE", 1.0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, channels, 1))
    assert OutputErrorEvaluator(context_of(net), 20).samples == samples


def test_what_estimating_statistics_anew_mends_is_no_loss():
    context = context_of(CifarResNet(1))
    twice = copy.deepcopy(context.model)
    with torch.no_grad():  # the same function once statistics are known
        twice.conv1.weight.mul_(3)
    assert unexplained(outputs_of(context.model), outputs_of(twice)) < 1e-4
    with torch.no_grad():
        plain = (net(X).double() for net in (context.model, twice))
        assert unexplained(*plain) > 1e-3


def test_dense_outputs_are_summed_over_positions():
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 4, 1))
    context = context_of(model)
    found = measure_sensitivity(context, rising(context.graph), [])
    assert all(item.loss > 0 for item in found.groups)
