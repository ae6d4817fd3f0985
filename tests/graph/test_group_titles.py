"""Groups are called by what they are."""

import pytest
import torch
import torchvision
from torch import nn

import edgeprune
from edgeprune.graph.group_titles import titles_of


def titles(model):
    model.eval()
    return titles_of(edgeprune.survey(model, (torch.zeros(1, 3, 64, 64),)), model)


def test_a_number_is_told_with_the_kind_of_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    assert titles(model) == {"0": "Conv2d 0"}


def test_residual_blocks_make_a_stream():
    found = titles(torchvision.models.resnet18())
    assert found["layer3.0.conv2"] == "layer3 stream"
    assert found["layer3.0.conv1"] == "layer3.0.conv1"
    assert found["conv1"] == "stream conv1 to layer1.1.conv2"


def test_depthwise_layers_make_nothing_and_names_are_told_apart():
    found = titles(torchvision.models.mobilenet_v2())
    assert found["features.2.conv.0.0"] == "Conv2d features.2.conv.0.0"
    assert found["features.2.conv.2"] == (
        "stream features.2.conv.2 to features.3.conv.2"
    )


@pytest.mark.parametrize(
    "name", ["densenet121", "shufflenet_v2_x0_5", "regnet_y_400mf"]
)
def test_every_group_has_a_title_of_its_own(name):
    found = titles(torchvision.models.get_model(name, weights=None))
    assert len(set(found.values())) == len(found)
