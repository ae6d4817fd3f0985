import pytest
import torch
import torchvision
from torch import nn

from edgeprune.graph.channel_graph import build_channel_graph, replace_with_identity
from edgeprune.prune.blocks import removable_blocks
from tests.nets import CifarResNet

IMAGE = (torch.randn(1, 3, 64, 64),)
CASES = [
    (lambda: CifarResNet(2), ["layer1.0", "layer1.1", "layer2.1", "layer3.1"]),
    (
        lambda: torchvision.models.resnet18(),
        ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    ),
    (lambda: torchvision.models.vgg11(), []),
    (lambda: torchvision.models.densenet121(), []),
]


@pytest.mark.parametrize(("make", "expected"), CASES)
def test_the_residual_blocks_of_a_network(make, expected):
    graph = build_channel_graph(make().eval(), IMAGE)
    assert [block.name for block in removable_blocks(graph)] == expected


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "mobilenet_v3_large", "regnet_y_400mf"]
)
def test_without_a_block_the_groups_around_it_are_what_they_were(name):
    """The solver relies on it; squeeze-and-excite may go, too."""
    graph = build_channel_graph(torchvision.models.get_model(name).eval(), IMAGE)
    sizes = {group.name: group.size for group in graph.groups}
    blocks = removable_blocks(graph)
    assert len(blocks) > 10
    for block in blocks[::4]:
        left = {
            group.name: group.size
            for group in replace_with_identity(graph, [block.name]).groups
        }
        assert left == {
            key: size for key, size in sizes.items() if key not in block.groups
        }


def test_a_layer_between_two_groups_is_no_block():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1))
    graph = build_channel_graph(model, IMAGE)
    assert "1" in graph.blocks
    assert removable_blocks(graph) == ()
