"""The core's property: a pruned network equals the original with silenced consumers."""

from dataclasses import replace

import pytest
import torch
import torchvision
from hypothesis import given, settings
from torch import nn

from edgeprune.graph.channel_graph import build_channel_graph, replace_with_identity
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.records import Plan
from tests.nets import CifarResNet, HalvesBySize, Shared
from tests.reference import (
    outermost,
    random_plan,
    relative_difference,
    without_blocks,
    zero_consumers,
)
from tests.strategies import disturb_, networks

EXACT = 1e-11  # float64, sums in another order
NETWORKS = (150, pytest.param(500, marks=pytest.mark.slow))


def difference(model, x, seed=0, find=build_channel_graph, depth=0.0):
    """(pruned against silenced, pruned against original, groups and blocks gone)."""
    graph = find(model, (x,))
    blocks = outermost(graph.blocks, seed, depth)
    left = replace_with_identity(graph, blocks)
    plan = replace(random_plan(left, seed), bypassed=blocks)
    pruned = apply(model, graph, plan)
    silenced = zero_consumers(without_blocks(model, blocks), left, plan)
    with torch.no_grad():
        found, expected, original = pruned(x), silenced(x), model(x)
    return (
        relative_difference(found, expected),
        relative_difference(found, original),
        len(left.groups) + len(blocks),
    )


@pytest.mark.parametrize("count", NETWORKS)
def test_random_networks_are_pruned_exactly(count):
    worst, changed, tried = [0.0], [], []

    @settings(max_examples=count)
    @given(networks())
    def check(drawn):
        model, seed = drawn
        x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        exact, bite, groups = difference(model, x, seed, depth=0.3 * (seed % 2))
        worst[0] = max(worst[0], exact)
        tried.append(groups)
        changed.extend([bite > 1e-6] if groups else [])
        assert exact < EXACT

    check()
    print(f"\nlargest difference over {len(tried)} random networks: {worst[0]:.1e}")
    assert len(tried) >= count
    # The oracle must bite: nearly all have something to prune, and it shows.
    assert len(changed) > 0.8 * len(tried)
    assert sum(changed) > 0.95 * len(changed)


WIDE = {"vgg11_bn", "alexnet"}
FAMILIES = [
    "resnet18",
    "resnext50_32x4d",
    "vgg11_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    pytest.param("densenet121", marks=pytest.mark.slow),
    "squeezenet1_1",
    pytest.param("googlenet", marks=pytest.mark.slow),
    "shufflenet_v2_x0_5",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "mnasnet0_5",
    "alexnet",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_families_are_pruned_exactly(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    if name in WIDE:  # a hundred million weights take seconds and tell nothing more
        layers = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
        reads = layers[0].in_features
        model.classifier = nn.Sequential(
            nn.Linear(reads, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    model = disturb_(model.double().eval())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    exact, bite, groups = difference(model, x, find=survey)
    print(f"\n{name}: {groups} groups, largest difference {exact:.1e}")
    assert groups > 0
    assert exact < EXACT
    assert bite > 1e-3


@pytest.mark.parametrize("make", [lambda: CifarResNet(2), HalvesBySize, Shared])
def test_user_networks_are_pruned_exactly(make):
    model = disturb_(make().double().eval())
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    exact, bite, groups = difference(model, x, find=survey)
    assert groups > 0
    assert exact < EXACT
    assert bite > 1e-4


@settings(max_examples=20)
@given(networks())
def test_an_empty_plan_changes_no_bit(drawn):
    model, _ = drawn
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    pruned = apply(model, build_channel_graph(model, (x,)), Plan({}))
    with torch.no_grad():
        assert torch.equal(pruned(x), model(x))
