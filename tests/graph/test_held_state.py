"""What modules hold beside their weights: hooks, kept tensors, heads for training."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeprune.errors import TraceError
from edgeprune.graph.model_copy import copied
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.records import Plan
from tests.reference import random_plan, relative_difference, zero_consumers

EXACT = 1e-5  # float32, sums in another order

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def half(graph):
    return Plan({group.name: tuple(range(group.size // 2)) for group in graph.groups})


def calling_itself(net):
    def hook(module, given, made, *, again=True):
        if again:
            hook(module, given, made, again=False)
        else:
            net.fetch(module, given, made)

    return hook


class Fetching(nn.Module):
    """A network that reads a feature which a hook has fetched."""

    def __init__(self, way):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1)
        self.low, self.high = nn.Linear(16, 4), nn.Linear(24, 4)
        self.fetched = features = {}
        hooks = {
            "a method": self.fetch,
            "a closure": lambda module, given, made: self.fetch(module, given, made),
            "a closure over a dict": lambda *found: features.update(a=found[2]),
            "a default": lambda *found, net=self: net.fetch(*found),
            "a partial": functools.partial(type(self).fetch, self),
            "a function that calls itself": calling_itself(self),
        }
        self.a.register_forward_hook(hooks[way])

    def fetch(self, module, given, made):
        self.fetched["a"] = made

    def forward(self, x):
        y = torch.relu(self.b(torch.relu(self.a(x))))
        return self.high(y.mean((2, 3))) + self.low(self.fetched["a"].mean((2, 3)))


WAYS = (
    "a method",
    "a closure",
    "a closure over a dict",
    "a default",
    "a partial",
    "a function that calls itself",
)


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_of_a_copy_writes_to_the_copy(way):
    model = Fetching(way).eval()
    model(X)  # with its history, which torch refuses to copy
    again = copied(model)
    held = model.fetched["a"]
    with torch.no_grad():
        assert relative_difference(again(X + 1), model(X + 1)) < EXACT
    assert again.fetched["a"] is not model.fetched["a"] is not held


@pytest.mark.parametrize("way", ["a closure", "a default"])
def test_channels_that_a_hook_fetches_can_go(way):
    torch.manual_seed(0)
    model, masked = (Fetching(way).eval() for _ in range(2))
    graph = survey(model, (X,))
    assert [group.name for group in graph.groups] == ["a", "b"]
    for group in graph.groups:
        plan = Plan({group.name: tuple(range(group.size // 2))})
        masked.load_state_dict(zero_consumers(model, graph, plan).state_dict())
        with torch.no_grad():
            found = apply(model, graph, plan)(X + 1)
            assert relative_difference(found, masked(X + 1)) < EXACT


def test_a_hook_that_names_the_original_is_refused_with_the_remedy():
    model = Fetching("a method").eval()
    model.a._forward_hooks.clear()
    names = {"net": model}
    exec("def hook(module, given, made):\n    net.fetched['a'] = made", names)
    model.a.register_forward_hook(names["hook"])
    model(X)
    with pytest.raises(TraceError, match=r"original by a global name\. Let it refer"):
        survey(model, (X,))


class Anchors(nn.Module):
    """Works out where its outputs lie when the size of its input changes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 16, 3, 2, 1)
        self.out = nn.Conv2d(16, 6, 1)
        self.size = self.anchors = None

    def forward(self, x):
        y = self.out(self.body(x).relu())
        if self.size != y.shape[2:]:
            axes = [torch.arange(length) + 0.5 for length in y.shape[2:]]
            self.anchors = torch.stack(torch.meshgrid(*axes, indexing="ij")).view(2, -1)
            self.size = y.shape[2:]
        near, far = y.view(y.shape[0], 6, -1).split((2, 4), 1)
        return torch.cat((self.anchors[None] - near, far.sigmoid()), 1)


@pytest.mark.parametrize("ran", ["never", "before the survey", "after the survey"])
def test_what_a_model_keeps_between_calls_is_in_nobodys_way(ran):
    torch.manual_seed(0)
    model = Anchors().eval()
    if ran == "before the survey":
        model(X)
    graph = survey(model, (X,))
    if ran == "after the survey":
        model(X)
    kept = model.anchors
    plan = random_plan(graph, 0)
    pruned = apply(model, graph, plan)
    assert model.anchors is kept  # the caller's model is as it was
    other = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        expected = zero_consumers(model, graph, plan)(other)
        assert relative_difference(pruned(other), expected) < EXACT


def test_lists_of_features_do_not_grow():
    class Collecting(nn.Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.features = []

        def forward(self, x):
            for layer in self:
                x = layer(x)
                self.features.append(x)
            return x

    model = Collecting(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).eval()
    with torch.no_grad():
        model(X)
    held = list(model.features)
    apply(model, graph := survey(model, (X,)), half(graph))
    assert all(left is right for left, right in zip(model.features, held, strict=True))


class Watched(nn.Module):
    """A second head that runs in training only."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(24, 4)
        self.side = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        y = self.head(torch.relu(self.b(x)).mean((2, 3)))
        return (y, self.side(self.norm(x.mean((2, 3))))) if self.training else y


@pytest.mark.parametrize("samples", [1, 2])  # batch norm wants more than one
def test_what_a_head_for_training_reads_stays(samples):
    model = Watched().eval()
    graph = survey(model, (X[:samples],))
    assert [group.name for group in graph.groups] == ["b"]
    told = {item.name: item.reason for item in graph.refusals}["a"]
    assert "does not run in training mode" in told
    apply(model, graph, half(graph)).train()(X)


class Bounded(nn.Conv2d):
    """A weight that every call brings to a norm of at most 1."""

    def forward(self, x):
        data = self.weight.data
        self.weight.data = torch.renorm(data, p=2, dim=0, maxnorm=1.0)
        return super().forward(x)


def test_a_weight_that_is_set_in_every_call_is_followed():
    layers = [Bounded(3, 8, 3), nn.ReLU(), Bounded(8, 6, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(6, 4, 1)).eval()
    graph = survey(model, (X,))
    marks = {group.name: group.approximate for group in graph.groups}
    assert "normalised with the other channels" in marks["0"]
    assert marks["2"] == ""
    apply(model, graph, half(graph))(X)


SPECTRAL = {
    "convolution": lambda: nn.utils.spectral_norm(nn.Conv2d(8, 16, 3)),
    "transposed": lambda: nn.utils.spectral_norm(nn.ConvTranspose2d(8, 16, 3)),
    "parametrised": lambda: nn.utils.parametrizations.spectral_norm(
        nn.Conv2d(8, 16, 3)
    ),
}


@pytest.mark.parametrize("kind", SPECTRAL)
def test_a_norm_over_all_filters_is_no_exact_cut(kind):
    first = nn.utils.spectral_norm(nn.Conv2d(3, 8, 3))
    layers = [first, nn.ReLU(), SPECTRAL[kind](), nn.ReLU(), nn.Conv2d(16, 4, 1)]
    groups = survey(nn.Sequential(*layers).eval(), (X,)).groups
    assert [group.size for group in groups] == [8, 16]
    assert all(group.approximate for group in groups)


def test_a_weight_that_is_a_product_loses_inner_channels_exactly():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = (
                nn.Parameter(torch.randn(*shape)) for shape in ((8, 6), (6, 27))
            )
            self.head = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            weight = (self.left @ self.right).view(-1, 3, 3, 3)
            return self.head(F.conv2d(x, weight).relu())

    graph = survey(Product().eval(), (X,))
    assert sorted((group.size, group.approximate) for group in graph.groups) == [
        (6, ""),
        (8, ""),
    ]


def test_a_config_that_refuses_changes_is_left_alone():
    class Frozen(dict):
        def clear(self):
            raise TypeError

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).eval()
    model.config = Frozen(width=8)
    assert [group.size for group in survey(model, (X,)).groups] == [8]
