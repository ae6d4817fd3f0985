"""Losses beside the one that counts: hints, and a second head that fills in."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from edgeprune.data import Splits
from edgeprune.errors import WorkloadError
from edgeprune.finetune.auxiliary import REGION, Hint, Hints, Inpainting, regions
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.feature_maps import last_feature_map
from edgeprune.finetune.loop import train
from edgeprune.finetune.losses import masked_mean_square
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.records import Plan
from tests.data_sets import splits
from tests.nets import Bottom, CifarResNet, Signal


class Pooled(nn.Module):
    """Its last map is not that of its last module by name."""

    def __init__(self):
        super().__init__()
        self.late = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.early = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.pool(self.late(self.early(x).relu())).flatten(1))


def test_the_last_feature_map_is_the_last_that_is_run_and_no_point():
    found = last_feature_map(Pooled(), torch.randn(2, 3, 8, 8))
    assert found.module == "late"
    assert found.value.shape == (2, 12, 4, 4)


def test_regions_are_rectangles_of_the_stated_size_anywhere():
    mask = regions(500, 32, 20)
    assert mask.shape == (500, 1, 32, 20)
    for image in mask[:, 0]:
        rows, columns = image.amax(1), image.amax(0)
        assert torch.equal(image, rows[:, None] * columns[None, :])
        for span, side in ((rows, 32), (columns, 20)):
            at = span.nonzero()[:, 0]
            assert at[-1] - at[0] + 1 == len(at)
            assert REGION[0] * side - 0.5 <= len(at) <= REGION[1] * side + 0.5
    share = mask.mean(0)
    assert share[0, 0, 0] > 0  # corners, too
    assert share[0, 15, 10] > share[0, 0, 0]


def test_only_the_region_is_cut_out_and_only_it_is_judged():
    x = torch.randn(6, 3, 8, 8) + 5
    item = Inpainting(Bottom(8), x, 0.1)
    cut = item.given(x)
    gone = (cut == 0).all(1, keepdim=True)
    assert 0 < gone.float().mean() < 0.3
    assert torch.equal(cut[~gone.expand_as(x)], x[~gone.expand_as(x)])
    model = Bottom(8)
    with item.watching(model, None):
        model(cut)
    wrong_elsewhere = x + (~gone) * 100
    torch.testing.assert_close(item.loss(x), item.loss(wrong_elsewhere))
    assert item.loss(x + gone * 100) > 1000


def test_the_error_in_the_region_is_a_mean():
    found, wanted = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, :2, :2] = 1
    assert masked_mean_square(found, wanted, mask) == 4.0
    assert masked_mean_square(found, wanted, 0 * mask) == 0.0


def test_the_second_head_teaches_the_trunk_and_is_dropped():
    data, model = splits(), Bottom(8)
    config = TrainingConfig("two heads", 6, inpaint=1.0)
    trained, history = train(model, data, config)
    assert trained.state_dict().keys() == model.state_dict().keys()
    assert history.second_head.weight == 1.0
    losses = [epoch.second_head_loss for epoch in history.epochs]
    assert losses[-1] < losses[0]
    item = Inpainting(model, x := next(iter(data.train))[0], 1.0)
    cut = item.given(x)
    with item.watching(model, None):
        model(cut)
    item.loss(x).backward()
    assert model.first.weight.grad.abs().sum() > 0


def hints(network, teacher, x):
    """The share of the teacher's maps that a network misses."""
    item = Hints(network, teacher, x)
    return item, missed(item, network, teacher, x)


def missed(item, network, teacher, x):
    with item.watching(network.eval(), teacher.eval()), torch.no_grad():
        network(x)
        teacher(x)
        return float(item.loss(x))


def test_the_last_map_of_each_size_that_both_make_is_shown():
    torch.manual_seed(0)
    teacher = CifarResNet(2)
    graph = survey(teacher, (torch.randn(1, 3, 32, 32),))
    plan = Plan({"layer3.0.conv1": tuple(range(32))}, ("layer1.1", "layer3.1"))
    network = apply(teacher, graph, plan)
    item, share = hints(network, teacher, torch.randn(4, 3, 32, 32))
    assert item.modules == ("layer1", "layer2", "layer3")
    assert share > 0.01
    _, nothing = hints(copy.deepcopy(teacher), teacher, torch.randn(4, 3, 32, 32))
    assert nothing == 0.0


def test_equal_channels_are_compared_as_they_are():
    found, wanted = torch.randn(3, 5, 4, 4), torch.randn(3, 5, 4, 4)
    item = Hint(found, wanted)
    assert not list(item.parameters())
    expected = (found - wanted).pow(2).mean() / wanted.var()
    torch.testing.assert_close(item(found, wanted), expected)


@pytest.mark.parametrize("shape", [(4, 4), (9,), (2, 3, 4)])
def test_fewer_channels_are_read_by_least_squares_at_first(shape):
    torch.manual_seed(0)
    found, wanted = torch.randn(30, 5, *shape), torch.randn(30, 9, *shape)
    wanted[:, :5] += 2 * found + 1
    item = Hint(found, wanted)
    given, asked = (
        value.movedim(1, -1).flatten(0, -2).numpy() for value in (found, wanted)
    )
    expected = LinearRegression().fit(given, asked)
    left = ((expected.predict(given) - asked) ** 2).mean() / asked.var()
    assert item(found, wanted).item() == pytest.approx(left, rel=1e-3)
    np.testing.assert_allclose(
        item.regressor.weight.detach(),
        expected.coef_,
        atol=0.01 * abs(expected.coef_).max(),
    )


def test_a_learner_whose_map_is_zero_is_read_as_the_mean():
    found, wanted = torch.zeros(3, 5, 4, 4), torch.randn(3, 9, 4, 4)
    wanted += torch.arange(9)[:, None, None]
    item = Hint(found, wanted)
    means = wanted.mean((0, 2, 3), keepdim=True)
    expected = (wanted - means).pow(2).mean() / wanted.var()
    torch.testing.assert_close(item(found, wanted), expected)


class Half(nn.Module):
    """A gate that is shut, and filters that are reckoned anew in every call."""

    def __init__(self, width=8):
        super().__init__()
        self.first = weight_norm(nn.Conv2d(3, width, 3))
        self.second = weight_norm(nn.Conv2d(width, 8, 3, stride=2))
        self.gate = nn.Sequential(nn.Conv2d(8, 8, 2), nn.ReLU())
        nn.init.constant_(self.gate[0].bias, -1e3)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.second(self.first(x).relu())
        return self.head(x.relu().mean((2, 3)) + self.gate(x).mean((2, 3)))


@pytest.mark.parametrize("width", [8, 6])
def test_neither_dead_branches_nor_reckoned_weights_are_hints(width):
    teacher, network = Half(), Half(width)
    with torch.no_grad():
        network.gate[0].bias.zero_()  # alive in the network
    item, share = hints(network, teacher, torch.randn(8, 3, 9, 9))
    assert item.modules == ("first", "second")
    assert share < 100
    assert [len(list(one.parameters())) for one in item.head] == (
        [0, 0] if width == 8 else [2, 0]
    )


def test_maps_are_not_held_when_the_loss_is_known():
    network, teacher, x = Bottom(8), Bottom(16), torch.randn(4, 3, 8, 8)
    item, _ = hints(network, teacher, x)
    assert all(one.value.numel() == 0 for pair in item._pairs for one in pair)


def test_a_narrow_network_learns_to_make_what_a_wide_one_does():
    data = splits()
    torch.manual_seed(1)
    teacher, network = Bottom(16), Bottom(8)
    x = torch.cat([x for x, _ in data.test])
    _, before = hints(network, teacher, x)
    config = TrainingConfig("look", 6, teacher=teacher, hints=True, optimizer="muon")
    trained, history = train(network, data, config)
    assert history.hints == ("norm", "second")
    assert hints(trained, teacher, x)[1] < 0.9 * before
    alone, history = train(network, data, replace(config, hints=False))
    assert history.hints == ()
    assert hints(alone, teacher, x)[1] > hints(trained, teacher, x)[1]


def test_maps_of_signals_are_shown_and_where_there_are_none_nothing_is():
    x, y = torch.randn(32, 2, 24), torch.arange(32) % 2
    data = in_memory(x, y)
    config = TrainingConfig("x", 1, teacher=Signal(), hints=True)
    _, history = train(Signal(), data, config)
    assert history.hints
    flat = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 2))
    data = in_memory(torch.randn(32, 7), y)
    trained, history = train(flat, data, replace(config, teacher=copy.deepcopy(flat)))
    assert history.hints == ()
    assert all(value.isfinite().all() for value in trained.parameters())


class Sometimes(nn.Module):
    """A layer that is run in evaluation only."""

    def __init__(self):
        super().__init__()
        self.always = nn.Conv2d(3, 8, 3, stride=2)
        self.now_and_then = nn.Conv2d(8, 8, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.always(x)
        if not self.training:
            self.now_and_then(x)
        return self.head(x.mean((2, 3)))


def test_maps_that_are_not_made_in_training_are_left_out():
    teacher, network = Sometimes(), Sometimes()
    config = TrainingConfig("x", 2, teacher=teacher, hints=True, learning_rate=0.2)
    trained, history = train(network, splits(), config)
    assert history.hints == ("always", "now_and_then")
    same = trained.now_and_then.weight == network.now_and_then.weight
    assert same.all()
    assert not torch.equal(trained.always.weight, network.always.weight)


def in_memory(x, y):
    batches = [(x, y)]
    return Splits(
        "rows", *[batches] * 4, 2, tuple(x.shape[1:]), (len(y), len(y), len(y))
    )


def test_signals_have_no_pictures_to_fill_in():
    x, y = torch.randn(32, 2, 24), torch.arange(32) % 2
    config = TrainingConfig("x", 1, teacher=Signal(), inpaint=0.1)
    with pytest.raises(WorkloadError, match="no feature map"):
        train(Signal(), in_memory(x, y), config)
