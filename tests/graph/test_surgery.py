import copy

import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.records import Plan
from tests.nets import Bottom, CifarResNet, HardCoded, Shared
from tests.user_nets import Heads, LayerNorms, Partial, image

IMAGE = (torch.randn(2, 3, 8, 8),)


def test_the_callers_model_is_left_alone():
    model = Bottom()
    before = copy.deepcopy(model.state_dict())
    apply(model, build_channel_graph(model, IMAGE), Plan({"first": (0, 1)}))
    assert model.first.out_channels == 16
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_result_is_of_the_same_class_with_sizes_brought_in_line():
    model = Bottom()
    pruned = apply(model, build_channel_graph(model, IMAGE), Plan({"first": (0, 3, 5)}))
    assert type(pruned) is Bottom
    assert (pruned.first.out_channels, pruned.norm.num_features) == (3, 3)
    assert (pruned.second.in_channels, pruned.second.out_channels) == (3, 32)
    assert torch.equal(pruned.first.weight, model.first.weight[[0, 3, 5]])
    assert torch.equal(pruned.second.weight, model.second.weight[:, [0, 3, 5]])


def test_a_pruned_model_can_be_pruned_again():
    model = Bottom()
    once = apply(
        model, build_channel_graph(model, IMAGE), Plan({"first": tuple(range(8))})
    )
    twice = apply(once, build_channel_graph(once, IMAGE), Plan({"first": (0, 7)}))
    assert torch.equal(twice.first.weight, model.first.weight[[0, 7]])


def test_tied_weights_stay_tied():
    model = Shared()
    graph = build_channel_graph(model, IMAGE)
    pruned = apply(model, graph, Plan({g.name: (0, 2, 4) for g in graph.groups}))
    assert pruned.other.weight is pruned.one.weight
    assert pruned.one.weight.shape[0] == 3


def test_gradients_flow_and_frozen_parameters_stay_frozen():
    model = Bottom()
    model.first.weight.requires_grad_(False)
    pruned = apply(model, build_channel_graph(model, IMAGE), Plan({"first": (0, 3, 5)}))
    pruned(IMAGE[0]).sum().backward()
    assert not pruned.first.weight.requires_grad
    assert pruned.second.weight.grad is not None


@pytest.mark.parametrize(
    ("kept", "complaint"),
    [
        ({"nowhere": (0,)}, "no prunable group"),
        ({"head": (0,)}, "output of the network"),
        ({"first": ()}, "keep at least one"),
        ({"first": (3, 1)}, "rising channel numbers"),
        ({"first": (0, 0)}, "rising channel numbers"),
        ({"first": (0, 16)}, "from 0 to 15"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_surgery(kept, complaint):
    model = Bottom()
    with pytest.raises(PlanError, match=complaint):
        apply(model, build_channel_graph(model, IMAGE), Plan(kept))


def test_a_plan_that_breaks_the_users_code_names_the_line():
    model = HardCoded()
    with pytest.raises(PlanError, match=r"nets.py:\d+ `return self.head\(x.view"):
        apply(model, build_channel_graph(model, IMAGE), Plan({"second": (0, 1)}))


class SilentlyWrong(nn.Module):
    """Reads a fixed number of channels from the front: pruning shifts them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.second = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8 + 32, 4)

    def forward(self, x):
        x = self.first(x)
        y = self.second(x.narrow(1, 0, 16))
        return self.head(torch.cat([y, x], 1).mean((2, 3)))


def test_a_plan_that_would_silently_read_other_channels_is_refused():
    model = SilentlyWrong()
    graph = build_channel_graph(model, IMAGE)
    free = [group.name for group in graph.groups]
    for name in free:
        size = graph.group(name).size
        kept = tuple(range(1, size))  # runs, but everything has moved by one
        try:
            pruned = apply(model, graph, Plan({name: kept}))
        except PlanError:
            continue
        assert name == "second" or pruned.first.out_channels == 32


def test_numbers_that_modules_hold_follow_the_channels():
    heads, norms, partial = Heads(), LayerNorms(), Partial()
    x = (image(),)
    pruned = apply(heads, build_channel_graph(heads, x), Plan({"qkv": (1, 3)}))
    assert (pruned.num_heads, heads.num_heads) == (2, 4)
    pruned = apply(
        norms,
        build_channel_graph(norms, x),
        Plan({"stem": (0, 1), "second": (0, 5, 6)}),
    )
    assert pruned.norm.normalized_shape == (2,)
    assert (pruned.groups.num_groups, pruned.groups.num_channels) == (3, 12)
    pruned = apply(
        partial, build_channel_graph(partial, x), Plan({"stem": (0,), "stem#2": (1, 2)})
    )
    assert pruned.touched == 1


def test_one_number_for_two_kinds_of_channels_must_stay_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = 4
            self.one = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            x = self.one(x)
            return self.head(x.view(-1, self.width, 36).mean(2) * self.width)

    model = Twice()
    graph = build_channel_graph(model, IMAGE)
    pruned = apply(model, graph, Plan({"one": (0, 3)}))
    assert pruned.width == 2


def test_a_block_that_is_left_out_is_an_identity_and_frees_nothing_else():
    model = CifarResNet(2).eval()
    graph = build_channel_graph(model, IMAGE)
    assert {"layer1.0", "layer1.1", "layer2.1", "layer3.1"} <= set(graph.blocks)
    assert not {"layer2.0", "layer3.0", "conv1", "linear"} & set(graph.blocks)
    pruned = apply(model, graph, Plan({}, bypassed=("layer1.1", "layer3.1")))
    assert type(pruned.layer1[1]) is nn.Identity
    assert not any(
        name.startswith("layer3.1.") for name, _ in pruned.named_parameters()
    )
    with torch.no_grad():
        x = IMAGE[0]
        expected = model.layer3[0](model.layer2(model.layer1[0](_stem(model, x))))
        expected = model.linear(expected.mean((2, 3)))
    torch.testing.assert_close(pruned(x), expected)


def _stem(model, x):
    return torch.relu(model.bn1(model.conv1(x)))


def test_a_module_that_changes_the_shape_is_no_block():
    model = CifarResNet(2)
    graph = build_channel_graph(model, IMAGE)
    with pytest.raises(PlanError, match="no module of this network"):
        apply(model, graph, Plan({}, bypassed=("layer2.0",)))


def test_channels_of_a_block_that_is_left_out_cannot_be_planned():
    model = CifarResNet(2)
    graph = build_channel_graph(model, IMAGE)
    name = next(g.name for g in graph.groups if g.name.startswith("layer1.1."))
    with pytest.raises(PlanError, match="no prunable group"):
        plan_surgery(model, graph, Plan({name: (0,)}, bypassed=("layer1.1",)))
