import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
import torchvision
from torch import nn

from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from tests.nets import Bottom, Signal
from tests.reference import conv_macs, parameter_count


def cost_of(model, *shape):
    return count(trace(model, (torch.randn(*shape),)))


def test_macs_follow_the_closed_form():
    model = Bottom(16)
    cost = cost_of(model, 1, 3, 8, 8)
    expected = conv_macs(model.first, 8, 8) + conv_macs(model.second, 4, 4) + 512 * 4
    assert cost.macs == expected
    assert cost.params == parameter_count(model)
    assert [layer.macs for layer in cost.layers][-1] == 512 * 4


def test_macs_grow_with_the_batch_and_with_length():
    one, four = (cost_of(Signal(), batch, 2, 20) for batch in (1, 4))
    assert four.macs == 4 * one.macs


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
@pytest.mark.filterwarnings("ignore")
def test_macs_agree_with_fvcore(name):
    from fvcore.nn import FlopCountAnalysis  # warns while it is imported

    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 64, 64)
    by_operator = FlopCountAnalysis(model, x).unsupported_ops_warnings(False)
    flops = by_operator.by_operator()
    assert cost_of(model, 1, 3, 64, 64).macs == flops["conv"] + flops["linear"]


def test_products_of_activations_are_counted():
    class Products(nn.Module):
        def forward(self, q, k, v):
            a = F.scaled_dot_product_attention(q, k, v)
            b = torch.einsum("bhld,bhsd->bhls", q, k)
            c = torch.einsum("...ld,...sd->...ls", q, k)
            return a, b, c, q @ k.transpose(-2, -1)

    q, k = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    v = torch.randn(2, 3, 7, 4)
    scores = 2 * 3 * 5 * 7 * 8
    values = 2 * 3 * 5 * 7 * 4
    assert count(trace(Products(), (q, k, v))).macs == 4 * scores + values


def test_recurrent_layers_and_deformable_convolutions_are_counted():
    lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
    weights = sum(weight.numel() for weight in lstm.parameters() if weight.ndim > 1)
    assert cost_of(lstm, 3, 10, 6).macs == 3 * 10 * weights
    assert cost_of(nn.GRU(6, 8), 10, 3, 6).macs == 3 * 10 * 3 * 8 * (6 + 8)

    class Deformed(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(3, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(3, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    assert cost_of(Deformed(), 1, 3, 8, 8).macs == 64 * 27 * (18 + 8)


class Standardised(nn.Conv2d):
    """Weight standardisation, as of BiT."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = self.weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / spread, self.bias)


class Equalised(nn.Conv2d):
    """An equalised learning rate."""

    def forward(self, x):
        return self._conv_forward(x, self.weight * 0.1, self.bias)


class FakeQuantised(nn.Conv2d):
    """Rounded as a quantised weight would be."""

    def forward(self, x):
        weight = torch.fake_quantize_per_tensor_affine(self.weight, 0.01, 0, -128, 127)
        return self._conv_forward(x, weight, self.bias)


class Mixed(nn.Module):
    """Dynamic convolution: kernels mixed for each sample."""

    def __init__(self, *_):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(4, 8, 3, 3, 3))

    def forward(self, x):
        shares = x.mean((0, 2, 3))[:1].expand(4).softmax(0)
        weight = (shares.view(4, 1, 1, 1, 1) * self.kernels).sum(0)
        return F.conv2d(x, weight, padding=1)


COMPUTED = {
    "weight norm, old": lambda conv: nn.utils.weight_norm(conv),
    "weight norm": lambda conv: nn.utils.parametrizations.weight_norm(conv),
    "spectral norm, old": lambda conv: nn.utils.spectral_norm(conv),
    "spectral norm": lambda conv: nn.utils.parametrizations.spectral_norm(conv),
    "orthogonal": lambda conv: nn.utils.parametrizations.orthogonal(conv),
    "pruned": lambda conv: nn.utils.prune.random_unstructured(conv, "weight", 0.5),
    "standardised": lambda _: Standardised(3, 8, 3, padding=1),
    "equalised": lambda _: Equalised(3, 8, 3, padding=1),
    "fake quantised": lambda _: FakeQuantised(3, 8, 3, padding=1),
    "dynamic": lambda _: Mixed(),
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_macs_are_those_of_the_operator_whatever_its_weight_comes_from(kind):
    conv = COMPUTED[kind](nn.Conv2d(3, 8, 3, padding=1)).eval()
    plain = 64 * 8 * 27
    assert plain <= cost_of(conv, 1, 3, 8, 8).macs < 1.1 * plain  # and a few of its own
