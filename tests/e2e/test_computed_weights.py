"""Networks whose weights are computed in `forward` are pruned as any other."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import edgeprune
from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from tests.data_sets import coloured_parts
from tests.made_up import FAKE

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


class Standardised(nn.Conv2d):
    """Weight standardisation, as of BiT."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = self.weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / spread, self.bias)


KINDS = {
    "standardised": lambda read, made: Standardised(read, made, 3),
    "weight norm": lambda *sizes: parametrizations.weight_norm(nn.Conv2d(*sizes, 3)),
    "weight norm, old": lambda *sizes: weight_norm(nn.Conv2d(*sizes, 3)),
    "spectral norm": lambda *sizes: parametrizations.spectral_norm(
        nn.Conv2d(*sizes, 3)
    ),
    "spectral norm, old": lambda *sizes: spectral_norm(nn.Conv2d(*sizes, 3)),
    "masked": lambda *sizes: prune.l1_unstructured(nn.Conv2d(*sizes, 3), "weight", 0.3),
}


def net(layer):
    torch.manual_seed(0)
    return nn.Sequential(
        *(layer(3, 32), nn.BatchNorm2d(32), nn.ReLU(), layer(32, 24), nn.ReLU()),
        *(layer(24, 24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(24, 4),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_named_after_what_their_weights_come_from(kind):
    x = torch.randn(1, 3, 16, 16)
    plain = count(trace(net(lambda *sizes: nn.Conv2d(*sizes, 3)), (x,)))
    found = count(trace(net(KINDS[kind]).eval(), (x,)))
    assert [(layer.kind, layer.macs) for layer in found.layers] == [
        (layer.kind, layer.macs) for layer in plain.layers
    ]
    state = net(KINDS[kind]).state_dict()
    assert all(layer.name in state for layer in found.layers)


@pytest.mark.parametrize("budget", ["60%", {"max_macs": "60%"}])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if number > 1 else ())
        for number, kind in enumerate(KINDS)
    ],
)
def test_a_budget_takes_about_what_it_asks_for(kind, budget, tmp_path):
    """A planner that sees no costs in these layers would take all channels it can."""
    done = edgeprune.compress(
        net(KINDS[kind]),
        coloured_parts(),
        budget=budget,
        precision="fp32",
        max_drop=100,
        train=False,
        target=FAKE,
        out=tmp_path / "run",
    )
    before, after = done.report.baseline, done.report.result
    assert done.report.status == "met"
    used = after.latency_ratio if budget == "60%" else after.macs / before.macs
    assert 0.4 < used <= 0.6
