"""Losses beside the one that counts: attention, and a second head that fills in."""

import copy

import pytest
import torch
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.finetune.auxiliary import REGION, Attention, Inpainting, regions
from edgeprune.finetune.feature_maps import last_feature_map
from edgeprune.finetune.loop import train
from edgeprune.finetune.losses import attention_distance, masked_mean_square
from edgeprune.finetune.recipe import Recipe
from tests.finetune.test_loop import splits
from tests.nets import Bottom, Signal


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
    recipe = Recipe("two heads", 6, inpaint=1.0)
    trained, history = train(model, data, recipe)
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


def test_attention_is_the_published_distance():
    found, wanted = torch.randn(3, 5, 4, 4), torch.randn(3, 9, 4, 4)
    q, t = (value.pow(2).sum(1).flatten(1) for value in (found, wanted))
    q, t = q / q.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
    expected = (q - t).norm(dim=1).pow(2).mean()
    torch.testing.assert_close(attention_distance(found, wanted), expected)
    assert attention_distance(found, 3 * found) == pytest.approx(0, abs=1e-6)


def test_a_narrow_network_learns_to_look_where_a_wide_one_does():
    data = splits()
    torch.manual_seed(1)
    teacher, learner = Bottom(16), Bottom(8)
    x = torch.cat([x for x, _ in data.test])

    def distance(model):
        item = Attention(model, teacher, x)
        with item.watching(model.eval(), teacher.eval()), torch.no_grad():
            model(x)
            teacher(x)
            return float(item.loss(x))

    recipe = Recipe("look", 6, teacher=teacher, attention=True)
    trained, history = train(learner, data, recipe)
    assert history.attention
    assert distance(trained) < 0.7 * distance(copy.deepcopy(learner))


@pytest.mark.parametrize("more", [{"inpaint": 0.1}, {"attention": True}])
def test_signals_have_no_pictures_to_fill_in(more):
    x, y = torch.randn(32, 2, 24), torch.arange(32) % 2
    data = splits()
    data = type(data)(
        "signals", [(x, y)], [(x, y)], [(x, y)], [(x, y)], 2, (2, 24), (32, 32, 32)
    )
    recipe = Recipe("x", 1, teacher=Signal(), **more)
    with pytest.raises(WorkloadError, match="no feature map"):
        train(Signal(), data, recipe)
