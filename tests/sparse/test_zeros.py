"""What is zero throughout can go, and nothing else does."""

import pytest
import torch
from torch import nn

from edgeprune.graph.channels import Channels
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.sparse import masks
from edgeprune.sparse.zeros import plan_of_zeros, zero_channels
from tests.nets import Bottom, CifarResNet
from tests.prepared import prepared, run
from tests.reference import relative_difference
from tests.user_nets import NETWORKS


def data(shape=(3, 8, 8)):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, *shape, generator=generator).double()
    return [(x, torch.zeros(8))]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_is_the_one_with_the_zeros(name):
    model, inputs, _, approximate = prepared(name)
    graph = survey(model, inputs)
    channels = Channels(model, graph.groups)
    if not len(channels):
        pytest.skip("no group of it is exact")
    if len(inputs) > 1 or not torch.is_tensor(inputs[0]):
        pytest.skip("data are batches of one tensor")
    zero = torch.zeros(len(channels), dtype=torch.bool)
    zero[::3] = True
    zero &= ~channels.best(torch.arange(len(channels)).double())
    with torch.no_grad():
        for key, mask in channels.masks(model, zero).items():
            dict(model.named_parameters())[key].masked_fill_(~mask, 0.0)
    plan = plan_of_zeros(model, graph, [(inputs[0], None)])
    gone = {key: graph.group(key).size - len(kept) for key, kept in plan.kept.items()}
    assert sum(gone.values()) == int(zero.sum()) > 0
    assert not set(gone) & set(approximate)
    smaller = apply(model, graph, plan)
    assert relative_difference(run(smaller, inputs), run(model, inputs)) < 1e-11


class Odd(nn.Module):
    """An activation that makes something of nothing."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.activation = activation

    def forward(self, x):
        return self.head(self.activation(self.first(x)))


@pytest.mark.parametrize(
    ("activation", "kept"), [(torch.relu, 5), (torch.tanh, 5), (torch.sigmoid, 8)]
)
def test_a_channel_made_by_zeros_goes_only_if_it_is_zero_where_it_is_read(
    activation, kept
):
    torch.manual_seed(0)
    model = Odd(activation).double()
    with torch.no_grad():
        model.first.weight[[1, 4, 6]] = 0.0
        model.first.bias[[1, 4, 6]] = 0.0
    x = torch.randn(8, 4).double()
    graph = survey(model, (x,))
    plan = plan_of_zeros(model, graph, [(x, None)])
    assert len(plan.kept.get("first", range(8))) == kept
    with torch.no_grad():
        smaller = apply(model, graph, plan)
        torch.testing.assert_close(smaller(x), model(x), rtol=1e-12, atol=1e-12)
        model.head.weight[:, [1, 4, 6]] = 0.0  # and what nothing reads always goes
    plan = plan_of_zeros(model, graph, [(x, None)])
    assert len(plan.kept["first"]) == 5


def test_zero_filters_under_a_norm_that_shifts_them_stay():
    torch.manual_seed(0)
    model = Bottom(8).double().eval()
    with torch.no_grad():
        model.first.weight[2] = 0.0
        model.first.bias[2] = 0.0
        model.norm.bias[2] = 0.3
    graph = survey(model, (data()[0][0],))
    assert not plan_of_zeros(model, graph, data()).kept
    with torch.no_grad():
        model.norm.bias[2] = 0.0
        model.norm.running_mean[2] = 0.0
        model.norm.weight[2] = 0.0
    assert len(plan_of_zeros(model, graph, data()).kept["first"]) == 7


def test_a_residual_channel_goes_when_all_its_makers_are_zero():
    torch.manual_seed(0)
    model = CifarResNet(1).double().eval()
    x = data((3, 32, 32))
    graph = survey(model, (x[0][0],))
    group = max(graph.groups, key=lambda item: len(item.layers("output")))
    assert len(group.layers("output")) > 1
    channels = Channels(model, [group])
    zero = torch.zeros(len(channels), dtype=torch.bool)
    zero[3] = True
    tensors = dict(model.named_parameters())
    chosen = channels.masks(model, zero)
    with torch.no_grad():
        first = group.layers("output")[0]
        tensors[first].masked_fill_(~chosen[first], 0.0)
    assert not zero_channels(model, Channels(model, graph.groups)).any()
    with torch.no_grad():
        for key, mask in chosen.items():
            tensors[key].masked_fill_(~mask, 0.0)
    plan = plan_of_zeros(model, graph, x)
    assert 3 not in plan.kept[group.name]


def test_all_zeros_leave_one_channel():
    torch.manual_seed(0)
    model = Bottom(8).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    graph = survey(model, (data()[0][0],))
    plan = plan_of_zeros(model, graph, data())
    assert plan.kept == {"first": (0,), "second": (0,)}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_shares_are_kept_to_exactly(share):
    torch.manual_seed(0)
    model = Bottom(8)
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    chosen = masks.magnitude(model, graph)(model, share)
    size = sum(mask.numel() for mask in chosen.values())
    assert sum(int((~mask).sum()) for mask in chosen.values()) == round(share * size)
    sizes = [p.detach().abs() for n, p in model.named_parameters() if n in chosen]
    kept = [s[m] for s, m in zip(sizes, chosen.values(), strict=True)]
    gone = torch.cat([s[~m] for s, m in zip(sizes, chosen.values(), strict=True)])
    if 0 < share < 1:
        assert float(gone.max()) <= min(float(k.min()) for k in kept if len(k))


def test_filters_with_the_smallest_norm_go_and_the_best_one_never():
    torch.manual_seed(0)
    model = Bottom(8)
    with torch.no_grad():
        model.first.weight[[2, 5]] *= 0.01
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    chosen = masks.l1_mask(model, graph)(model, 0.25)
    gone = torch.nonzero(~chosen["first.weight"].flatten(1).any(1)).flatten()
    assert gone.tolist() == [2, 5]
    assert not chosen["norm.bias"][[2, 5]].any()
    assert not chosen["second.weight"][:, [2, 5]].any()
    everything = masks.l1_mask(model, graph)(model, 1.0)
    assert int(everything["first.bias"].sum()) == 1


def test_hybrid_takes_filters_of_convolutions_and_weights_of_linear_layers():
    torch.manual_seed(0)
    model = Bottom(8)
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    chosen = masks.hybrid(model, graph)(model, 0.5)
    rows = chosen["second.weight"].flatten(1).any(1)
    assert int(rows.sum()) == 8
    linear = ~chosen["head.weight"]
    assert float(linear.float().mean()) >= 0.5
    whole = linear.view(4, 16, 16).all(0).all(1)  # columns of channels that are gone
    assert torch.equal(whole, ~rows)
    assert (linear.any(0) & ~linear.all(0)).any()  # and single weights
