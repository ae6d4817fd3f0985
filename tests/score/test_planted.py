"""A filter that is useless ranks last, one that is decisive first, by definition."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.score.context import Context
from edgeprune.score.criteria import CRITERIA, score_channels

LAST, FIRST = 5, 2
CHANNELS = 8


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.read = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, x):
        return self.read(self.norm(self.conv(x)).relu()).mean((2, 3))


def small_weights(model, _):
    model.conv.weight[LAST] = 0
    model.conv.weight[FIRST] *= 20
    model.norm.weight[LAST] = 0
    model.norm.weight[FIRST] *= 20


def redundant(model, _):
    """Halfway between two others, and far from all."""
    model.conv.weight[:] *= 0.1
    others = [index for index in range(CHANNELS) if index not in (LAST, FIRST)]
    model.conv.weight[LAST] = model.conv.weight[others].mean(0)
    model.conv.weight[FIRST] += 5


def never_and_always_active(model, _):
    model.norm.bias[LAST] = -100
    model.norm.bias[FIRST] = 100


def unread(model, _):
    """What reads it has a slice of zeros; the other reads it most of all."""
    model.read.weight[:, LAST] = 0
    model.read.weight[:, FIRST] *= 50


def without_label(model, images):
    """One channel is constant, one alone reads the image with the label in it."""
    model.conv.weight[:, 1] = 0
    model.conv.weight[[LAST, FIRST]] = 0
    model.conv.weight[FIRST, 1, 1, 1] = 1
    images[:, 1] += torch.arange(len(images))[:, None, None] % 4 * 3.0


def without_variance(model, _):
    model.conv.weight[LAST] = 0
    model.norm.weight[FIRST] *= 20


PLANTED = {
    "l1": small_weights,
    "l2": small_weights,
    "slimming": small_weights,
    "fpgm": redundant,
    "apoz": never_and_always_active,
    "taylor": unread,
    "taylor_weight": unread,
    "output_gradient": unread,
    "obd": unread,
    "pls_vip": without_label,
    "hopls_vip": without_label,
    "pca": without_variance,
}


def test_every_criterion_but_chance_has_its_planted_filters():
    assert set(PLANTED) == set(CRITERIA) - {"random"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_useless_filter_is_last_and_a_decisive_one_first(name):
    torch.manual_seed(3)
    model, images = Net().eval(), torch.randn(64, 2, 6, 6)
    with torch.no_grad():
        PLANTED[name](model, images)
    graph = build_channel_graph(model, (images[:1],))
    batches = [(images, torch.arange(64) % 4)]
    context = Context(model, graph, batches, samples=64)
    scores = np.array(score_channels(name, context).groups[0].scores)
    assert int(scores.argmin()) == LAST
    assert int(scores.argmax()) == FIRST
    assert len(set(scores.tolist())) > 2
