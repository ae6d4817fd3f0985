import copy

import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.groups import analyse
from edgeprune.graph.surgery import apply
from edgeprune.records import Plan
from tests.nets import Bottom, HardCoded, Shared

IMAGE = (torch.randn(2, 3, 8, 8),)


def test_the_callers_model_is_left_alone():
    model = Bottom()
    before = copy.deepcopy(model.state_dict())
    apply(model, analyse(model, IMAGE), Plan({"first": (0, 1)}))
    assert model.first.out_channels == 16
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_result_is_of_the_same_class_with_sizes_brought_in_line():
    model = Bottom()
    pruned = apply(model, analyse(model, IMAGE), Plan({"first": (0, 3, 5)}))
    assert type(pruned) is Bottom
    assert (pruned.first.out_channels, pruned.norm.num_features) == (3, 3)
    assert (pruned.second.in_channels, pruned.second.out_channels) == (3, 32)
    assert torch.equal(pruned.first.weight, model.first.weight[[0, 3, 5]])
    assert torch.equal(pruned.second.weight, model.second.weight[:, [0, 3, 5]])


def test_a_pruned_model_can_be_pruned_again():
    model = Bottom()
    once = apply(model, analyse(model, IMAGE), Plan({"first": tuple(range(8))}))
    twice = apply(once, analyse(once, IMAGE), Plan({"first": (0, 7)}))
    assert torch.equal(twice.first.weight, model.first.weight[[0, 7]])


def test_tied_weights_stay_tied():
    model = Shared()
    graph = analyse(model, IMAGE)
    pruned = apply(model, graph, Plan({g.name: (0, 2, 4) for g in graph.groups}))
    assert pruned.other.weight is pruned.one.weight
    assert pruned.one.weight.shape[0] == 3


def test_gradients_flow_and_frozen_parameters_stay_frozen():
    model = Bottom()
    model.first.weight.requires_grad_(False)
    pruned = apply(model, analyse(model, IMAGE), Plan({"first": (0, 3, 5)}))
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
        apply(model, analyse(model, IMAGE), Plan(kept))


def test_a_plan_that_breaks_the_users_code_names_the_line():
    model = HardCoded()
    with pytest.raises(PlanError, match=r"nets.py:\d+ `return self.head\(x.view"):
        apply(model, analyse(model, IMAGE), Plan({"second": (0, 1)}))


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
    graph = analyse(model, IMAGE)
    free = [group.name for group in graph.groups]
    for name in free:
        size = graph.group(name).size
        kept = tuple(range(1, size))  # runs, but everything has moved by one
        try:
            pruned = apply(model, graph, Plan({name: kept}))
        except PlanError:
            continue
        assert name == "second" or pruned.first.out_channels == 32
