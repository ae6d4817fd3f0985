"""One contract for every criterion, and each one against a slow reference."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeprune.data import Reading, TensorBatches
from edgeprune.errors import ScoreError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.score.context import Context
from edgeprune.score.criteria import (
    CRITERIA,
    comparable_scores,
    register_criterion,
    score_channels,
)
from tests.nets import Bottom, CifarResNet
from tests.reference import filter_norms, loss_with_gate
from tests.user_nets import NETWORKS

BATCHES = TensorBatches(
    torch.randn(12, 3, 8, 8), torch.randint(0, 4, (12,)), Reading(5)
)


def context_of(model, batches=BATCHES):
    return Context(
        model, build_channel_graph(model, (torch.randn(2, 3, 8, 8),)), batches
    )


def scores_of(name, context):
    found = score_channels(name, context)
    return {group.name: torch.tensor(group.scores) for group in found.groups}


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_have_one_finite_number_per_channel_and_leave_the_model_alone(name):
    model = Bottom()
    before = copy.deepcopy(model.state_dict())
    context = context_of(model)
    scores = scores_of(name, context)
    for group in context.graph.groups:
        assert scores[group.name].shape == (group.size,)
        assert torch.isfinite(scores[group.name]).all()
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "random"])
def test_permuting_the_channels_permutes_the_scores(name):
    model = Bottom()
    order = torch.randperm(16)
    permuted = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (permuted.first.weight, permuted.first.bias):
            tensor.copy_(tensor[order])
        permuted.second.weight.copy_(model.second.weight[:, order])
    before = scores_of(name, context_of(model))["first"]
    after = scores_of(name, context_of(permuted))["first"]
    torch.testing.assert_close(after, before[order], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_of_a_seed_repeat(name):
    model = Bottom()
    first, second = (scores_of(name, context_of(model)) for _ in range(2))
    assert all(torch.equal(first[group], second[group]) for group in first)


@pytest.mark.parametrize("name", CRITERIA)
def test_residual_networks_get_one_score_per_united_channel(name):
    model = CifarResNet(2)
    batches = TensorBatches(
        torch.randn(6, 3, 16, 16), torch.randint(0, 10, (6,)), Reading(6)
    )
    graph = build_channel_graph(model, (torch.randn(2, 3, 16, 16),))
    found = score_channels(name, Context(model, graph, batches))
    assert [len(group.scores) for group in found.groups] == [
        group.size for group in graph.groups
    ]


@pytest.mark.parametrize(("name", "power"), [("l1", 1), ("l2", 2)])
def test_norms_equal_loops_over_the_weights(name, power):
    model = Bottom()
    found = scores_of(name, context_of(model))["first"]
    expected = torch.tensor(filter_norms(model.first.weight, power))
    torch.testing.assert_close(found, expected.to(found), rtol=1e-6, atol=0)


def test_norms_of_united_channels_are_the_mean_over_their_filters():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=4), nn.Conv2d(4, 2, 1)
    )
    graph = build_channel_graph(model, (torch.randn(1, 3, 4, 4),))
    found = torch.tensor(score_channels("l1", Context(model, graph)).groups[0].scores)
    first = torch.tensor(filter_norms(model[0].weight, 1))
    second = torch.tensor(filter_norms(model[1].weight, 1))
    torch.testing.assert_close(found, ((first + second) / 2).to(found))


def test_taylor_is_the_finite_difference_of_the_loss():
    """Closing the gate in front of the only consumer by a little."""
    model = Bottom().double().eval()
    x, y = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 3, 1])
    batches = [(x, y)]
    found = scores_of("taylor", context_of_double(model, batches))["first"]
    step = 1e-6
    for channel in range(4):
        changes = [
            loss_with_gate(
                model, "second", [channel], 1 + step, x[i : i + 1], y[i : i + 1]
            )
            - loss_with_gate(
                model, "second", [channel], 1 - step, x[i : i + 1], y[i : i + 1]
            )
            for i in range(3)
        ]
        expected = sum(abs(change) / (2 * step) for change in changes) / 3
        assert float(found[channel]) == pytest.approx(expected, rel=1e-4)


def context_of_double(model, batches):
    graph = build_channel_graph(model, (torch.randn(2, 3, 8, 8, dtype=torch.float64),))
    return Context(model, graph, batches)


def test_taylor_ranks_a_channel_that_nothing_reads_last():
    model = Bottom()
    with torch.no_grad():
        model.second.weight[:, 5] = 0
    assert int(scores_of("taylor", context_of(model))["first"].argmin()) == 5


def test_an_unknown_criterion_lists_the_known_ones():
    with pytest.raises(ScoreError, match=r"'l3'.*taylor"):
        score_channels("l3", context_of(Bottom()))


def test_a_criterion_that_needs_data_says_so():
    with pytest.raises(ScoreError, match="needs labelled data"):
        score_channels("taylor", context_of(Bottom(), None))


def test_scores_that_are_no_numbers_are_refused():
    model = Bottom()
    with torch.no_grad():
        model.first.weight[0] = torch.nan
    with pytest.raises(ScoreError, match="NaN"):
        score_channels("l1", context_of(model))


class Functional(nn.Module):
    """Reads channels with a weight that is no torch layer's."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.kernel = nn.Parameter(torch.randn(4, 8, 1, 1))

    def forward(self, x):
        return F.conv2d(self.first(x).relu(), self.kernel).mean((2, 3))


def test_channels_that_a_functional_layer_reads_are_gated_there():
    model = Functional().double()
    x, y = torch.randn(4, 3, 8, 8).double(), torch.arange(4)
    context = context_of_double(model, [(x, y)])
    found = scores_of("taylor", context)["first"]
    for channel in range(8):
        gate = torch.ones(8, dtype=torch.float64, requires_grad=True)
        read = model.first(x).relu() * gate[:, None, None]
        outputs = F.conv2d(read, model.kernel).mean((2, 3))
        changes = [
            torch.autograd.grad(loss, gate, retain_graph=True)[0][channel]
            for loss in F.cross_entropy(outputs, y, reduction="none")
        ]
        expected = torch.stack(changes).abs().mean()
        torch.testing.assert_close(found[channel], expected.float())


@pytest.mark.parametrize(
    "name", ["heads", "norms", "einsum", "functional", "tied", "gated", "selective"]
)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_channels_of_every_kind_get_scores(criterion, name):
    factory, inputs, _, _ = NETWORKS[name]
    model = factory()
    x = torch.cat([inputs()[0], inputs()[0]])
    context = Context(
        model, build_channel_graph(model, (x,)), [(x, torch.arange(4))], samples=4
    )
    for group in context.graph.groups:
        scores = scores_of(criterion, context)[group.name]
        assert scores.shape == (group.size,)
        assert scores.max() > 0 or criterion == "pca"


def test_norms_are_made_comparable_by_their_groups_mean():
    context = context_of(Bottom())
    scores = comparable_scores(score_channels("l1", context), context.graph)
    for values in scores.values():
        assert float(values.mean()) == pytest.approx(1)


class Sequence(nn.Module):
    """Steps first, samples second, and both folded into one axis at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 10), nn.Linear(10, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.second(self.first(x.transpose(0, 1)).relu()).relu()
        steps, samples, _ = x.shape
        x = self.head(x.reshape(steps * samples, -1))
        return x.reshape(steps, samples, -1).mean(0)


@pytest.mark.parametrize("name", ["taylor", "output_gradient", "pls_vip", "hopls_vip"])
def test_samples_are_found_on_any_axis(name):
    model, x = Sequence().eval(), torch.randn(24, 16, 6)
    graph = build_channel_graph(model, (x[:1],))
    found = [
        scores_of(name, Context(model, graph, [(x, torch.arange(24) % 3)], 24, step=n))
        for n in (16, 5)
    ]
    for group in found[0]:
        torch.testing.assert_close(found[0][group], found[1][group], rtol=1e-3, atol=0)


def test_the_samples_that_were_read_are_counted():
    scores = score_channels("apoz", context_of(Bottom()))
    assert scores.samples == 12
    assert score_channels("l1", context_of(Bottom())).samples == 0


@pytest.mark.parametrize("name", CRITERIA)
def test_a_network_without_groups_has_no_scores(name):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert score_channels(name, context_of(model)).groups == ()


@pytest.mark.parametrize("name", ["apoz", "pls_vip", "hopls_vip", "pca", "obd"])
def test_dead_networks_have_finite_scores(name):
    model = Bottom()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.isfinite(scores_of(name, context_of(model))["first"]).all()


@pytest.mark.parametrize("name", ["apoz", "pls_vip", "hopls_vip", "pca"])
def test_activations_that_are_no_numbers_are_refused(name):
    model = Bottom()
    with torch.no_grad():
        model.first.bias[0] = torch.inf
        model.norm.running_mean[0] = torch.inf
    with pytest.raises(ScoreError, match="NaN or inf"):
        score_channels(name, context_of(model))


def test_scores_of_the_wrong_shape_are_refused():
    model = Bottom()
    context = Context(model, build_channel_graph(model, (torch.randn(1, 3, 8, 8),)))
    name = context.graph.groups[0].name
    for scores in ({name: torch.zeros(3)}, {}):
        register_criterion("wrong", lambda _, scores=scores: scores)
        try:
            with pytest.raises(ScoreError, match="one score for each of its"):
                score_channels("wrong", context)
        finally:
            del CRITERIA["wrong"]
