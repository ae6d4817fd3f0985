import pytest
import torch
import torch.nn.functional as F
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
