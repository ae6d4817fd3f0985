"""Channels that are copied change nothing, whatever they are wired to."""

import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.surgery import apply, apply_surgery_, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.prune.growth import doubled, widened
from edgeprune.records import Plan
from tests.nets import Bottom, CifarResNet
from tests.prepared import difference, lively, prepared, run, some_copies
from tests.reference import relative_difference
from tests.user_nets import NETWORKS

# A weight that makes and reads the same channels; scores of attention.
LEFT = {"tied": {"stem", "encoder"}, "einsum": {"query"}}
NAMES = ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1"]


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_networks_compute_the_same_when_all_groups_are_wider(name):
    torchvision = pytest.importorskip("torchvision")
    model = lively(torchvision.models.get_model(name, weights=None))
    x = torch.randn(2, 3, 64, 64).double()
    graph = survey(model, (x,))
    plan = Plan({}, copies=some_copies(graph))
    wide = apply(model, graph, plan)
    assert sum(p.numel() for p in wide.parameters()) > 1.3 * sum(
        p.numel() for p in model.parameters()
    )
    assert difference(model, wide, x) < 1e-9


@pytest.mark.parametrize("blocks", [1, 2])
def test_residual_stages_with_padded_shortcuts_do_too(blocks):
    model = lively(CifarResNet(blocks))
    x = torch.randn(2, 3, 32, 32).double()
    wide, names = widened(model, survey(model, (x,)))
    assert len(names) > blocks
    assert difference(model, wide, x) < 1e-9


def test_copies_that_read_the_same_learn_different_things():
    torch.manual_seed(0)
    model = Bottom(8).double().eval()
    x = torch.randn(4, 3, 8, 8).double()
    graph = survey(model, (x,))
    wide = apply(model, graph, doubled(graph, ["first"]))
    wide.train()
    nn.functional.cross_entropy(wide(x), torch.arange(4)).backward()
    gradient = wide.first.weight.grad
    pairs = gradient.reshape(8, 2, -1)
    assert torch.equal(wide.first.weight[0], wide.first.weight[1])
    assert (pairs[:, 0] - pairs[:, 1]).abs().amax(1).min() > 0


def test_some_channels_go_while_others_are_copied():
    model = lively(Bottom(8))
    x = torch.randn(4, 3, 8, 8).double()
    graph = survey(model, (x,))
    kept = {"first": (0, 2, 3, 5), "second": tuple(range(12))}
    smaller = apply(model, graph, Plan(kept))
    both = apply(model, graph, Plan(kept, (), {"first": (2, 2, 5), "second": (0, 11)}))
    assert both.first.out_channels == 7
    assert both.second.weight.shape[:2] == (14, 7)
    assert difference(smaller, both, x) < 1e-9


def test_a_wider_network_is_made_again_from_the_users_own():
    model = lively(Bottom(8))
    x = torch.randn(4, 3, 8, 8).double()
    graph = survey(model, (x,))
    first = Plan({"first": (1, 4, 6)}, (), {"first": (4,), "second": (0, 0, 3)})
    once = apply(model, graph, first)
    second_graph = survey(once, (x,))
    second = Plan({"second": tuple(range(2, 12))}, (), {"first": (0, 3)})
    twice = apply(once, second_graph, second)
    whole = plan_surgery(model, graph, first).then(
        plan_surgery(once, second_graph, second)
    )
    rebuilt = Bottom(8).double().eval()
    apply_surgery_(rebuilt, whole)
    rebuilt.load_state_dict(twice.state_dict())
    assert difference(twice, rebuilt, x) == 0.0


@pytest.mark.parametrize("name", NETWORKS)
def test_users_networks_compute_the_same_or_are_left_as_they_are(name):
    model, inputs, _, approximate = prepared(name)
    graph = survey(model, inputs)
    wide, able = widened(model, graph)
    assert relative_difference(run(wide.eval(), inputs), run(model, inputs)) < 1e-9
    assert not {*able} & {*approximate}
    left = {group.name for group in graph.groups} - {*able} - {*approximate}
    assert left == LEFT.get(name, set())


def test_what_cannot_be_copied_is_refused_with_a_reason():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.norm(self.first(x)))

    model = Normed()
    graph = survey(model, (torch.randn(2, 6),))
    with pytest.raises(PlanError, match="widens 'first'"):
        apply(model, graph, Plan({}, copies={"first": (0,)}))
    with pytest.raises(PlanError, match="do not stay"):
        apply(
            Bottom(8),
            survey(Bottom(8), (torch.randn(2, 3, 8, 8),)),
            Plan({"first": (0, 1)}, copies={"first": (5,)}),
        )
    wide, able = widened(model, graph)
    assert not able
    assert wide.first.out_features == 8
