"""Traces that are derived compute what the cut network computes."""

import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.derived import DerivedTraces
from edgeprune.graph.stepwise import StepwiseInterpreter, trace_batch
from edgeprune.graph.surgery import apply, cut_state, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.records import Plan
from edgeprune.records.surgery import inside
from tests.nets import Bottom, CifarResNet
from tests.prepared import lively, prepared
from tests.user_nets import NETWORKS


def computed(model, traced, surgery, x):
    """What the derived trace makes of the original's weights."""
    run = StepwiseInterpreter(traced, cut_state(model, surgery), [x])
    return run.outputs()[0]


def plans_for(graph):
    """Half of every group; each block out; half of what one leaves."""
    half = {group.name: tuple(range(0, group.size, 2)) for group in graph.groups}
    plans = [Plan(half)]
    for block in graph.blocks[:3]:
        rest = {
            name: kept
            for name, kept in half.items()
            if not any(
                inside(member.parameter, [block])
                for member in graph.group(name).members
            )
        }
        plans += [Plan({}, (block,)), Plan(rest, (block,))]
    return plans


def derived(model, x):
    """For every plan that fits: is there a trace, and what does it compute?"""
    graph, found = survey(model, (x[:1],)), []
    traces = DerivedTraces(trace_batch(model, x))
    for plan in plans_for(graph):
        try:
            pruned = apply(model, graph, plan)
        except PlanError:
            continue
        surgery = plan_surgery(model, graph, plan)
        traced = traces.trace(surgery)
        found.append(traced is not None)
        if traced is not None:
            with torch.no_grad():
                expected = pruned(x)
            result = computed(model, traced, surgery, x)
            torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    assert found
    return all(found)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: CifarResNet(2), 16),
        (lambda: Bottom(16), 16),
        ("mobilenet_v2", 32),
        ("mobilenet_v3_small", 32),
        ("squeezenet1_1", 32),
        ("mnasnet0_5", 32),
    ],
)
def test_no_code_need_run_again(make, side):
    if isinstance(make, str):
        models = pytest.importorskip("torchvision").models
        model = lively(models.get_model(make, weights=None, num_classes=10))
    else:
        model = lively(make())
    assert derived(model, torch.randn(3, 3, side, side).double())


def test_where_code_reckons_with_channels_it_has_to_run():
    models = pytest.importorskip("torchvision").models
    model = lively(models.shufflenet_v2_x0_5(weights=None, num_classes=10))
    assert not derived(model, torch.randn(3, 3, 32, 32).double())


SEVERAL_INPUTS = {"reused", "dicts"}


@pytest.mark.parametrize("name", sorted({*NETWORKS} - SEVERAL_INPUTS))
def test_what_is_derived_of_users_networks_is_right(name):
    model, inputs, _, _ = prepared(name)
    derived(model, torch.randn(4, *inputs[0].shape[1:]).double())


class Written(nn.Module):
    """Its head is told how many channels there are, by a number of the module."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Linear(8 * 4, 5)

    def forward(self, x):
        x = self.deep(self.first(x).relu_())
        x = nn.functional.adaptive_avg_pool2d(x, 2)
        return self.last(x.view(len(x), self.width, 4).flatten(1))


def test_numbers_that_modules_hold_follow():
    assert derived(lively(Written()), torch.randn(3, 3, 8, 8).double())
