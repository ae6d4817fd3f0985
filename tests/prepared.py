"""Networks in float64 whose norms do something, and how they are run."""

import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgeprune.graph.trace import tensors_in
from tests.strategies import disturb_
from tests.user_nets import NETWORKS


def prepared(name):
    torch.manual_seed(0)
    factory, inputs, expected, approximate = NETWORKS[name]
    model = disturb_(factory().double().eval())
    doubled = pytree.tree_map(lambda item: item.double(), inputs())
    return model, doubled, expected, approximate


def run(model, inputs):
    with torch.no_grad():
        return torch.cat([item.ravel() for item in tensors_in(model(*inputs))])


def lively(model):
    """In float64, with norms that do something."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.double().eval()


def some_copies(graph, names=None):
    """Every third channel once more, the first one three times more."""
    return {
        group.name: tuple(sorted((*range(0, group.size, 3), 0, 0)))
        for group in graph.groups
        if not group.approximate and (names is None or group.name in names)
    }


def difference(model, changed, x):
    with torch.no_grad():
        expected, found = model(x), changed.eval()(x)
    return float((found - expected).abs().max() / expected.abs().max())
