"""Sites, and runs that are watched at them."""

import pytest
import torch
from torch import nn
from torchvision import models

from edgeprune.errors import TraceError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.hooked_run import run_with_hooks
from tests.nets import CifarResNet, Shared
from tests.user_nets import NETWORKS


def seen_at(model, graph, x, sites):
    seen = {}
    with torch.no_grad():
        outputs = run_with_hooks(
            model,
            graph.traced,
            x,
            [site.place for site in sites],
            lambda place, value: seen.__setitem__(place, value.clone()),
        )
    return outputs, [seen[site.place] for site in sites]


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "convnext_tiny"],
)
def test_a_watched_run_of_more_samples_computes_the_same(name):
    model = models.get_model(name, weights=None).eval()
    x = torch.randn(3, 3, 64, 64)
    graph = build_channel_graph(model, (x[:1],))
    sites = [
        site for group in graph.groups for site in graph.sites(group).consumer_inputs()
    ]
    outputs, values = seen_at(model, graph, x, sites)
    with torch.no_grad():
        assert torch.equal(outputs, model(x))
    for site, value in zip(sites, values, strict=True):
        spans = torch.tensor([value.shape[axis] for axis in site.axes]).prod()
        assert len(site.channel_of) == spans


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_of_every_kind_of_network_can_be_seen(name):
    factory, inputs, _, _ = NETWORKS[name]
    model = factory()
    graph = build_channel_graph(model, inputs())
    for group in graph.groups:
        finder = graph.sites(group)
        for sites in (finder.consumer_inputs(), finder.preactivations()):
            assert sites
            numbers = {int(n) for site in sites for n in site.channel_of}
            assert set(range(group.size)) <= numbers


def test_points_are_what_the_modules_are_given():
    model, x = CifarResNet(2).eval(), torch.randn(2, 3, 16, 16)
    graph = build_channel_graph(model, (x[:1],))
    given = {}
    for path, module in model.named_modules():
        module.register_forward_pre_hook(
            lambda _, arguments, path=path: given.__setitem__(path, arguments[0])
        )
    group = graph.group("layer1.0.conv1")
    (read,) = graph.sites(group).consumer_inputs()
    (before,) = graph.sites(group).preactivations()
    _, values = seen_at(model, graph, x, [read, before])
    assert torch.equal(values[0], given["layer1.0.conv2"])
    with torch.no_grad():
        assert torch.equal(values[1], model.layer1[0].bn1(given["layer1.0.bn1"]))


def test_layers_of_a_residual_stage_are_seen_behind_the_sum():
    model, x = CifarResNet(2).eval(), torch.randn(2, 3, 16, 16)
    graph = build_channel_graph(model, (x[:1],))
    layers = graph.sites(graph.group("conv1")).layers()
    # Padded shortcuts unite the stages: a part of each later one belongs to it.
    assert list(layers)[:3] == ["conv1", "layer1.0.conv2", "layer1.1.conv2"]
    site = layers["layer1.1.conv2"]
    _, (value,) = seen_at(model, graph, x, [site])
    with torch.no_grad():
        stream = model.layer1(torch.relu(model.bn1(model.conv1(x))))
        assert torch.equal(value.relu(), stream)


def test_a_depthwise_layer_passes_channels_on_and_makes_none():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 2, 1)
    )
    graph = build_channel_graph(model, (torch.randn(1, 3, 8, 8),))
    (group,) = graph.groups
    assert list(graph.sites(group).layers()) == ["0"]
    (read,) = graph.sites(group).consumer_inputs()
    assert "conv2d" in read.value.name


def test_a_module_that_is_called_twice_is_read_twice():
    model = Shared()
    graph = build_channel_graph(model, (torch.randn(1, 3, 8, 8),))
    group = next(item for item in graph.groups if item.name == "first")
    assert len(graph.sites(group).consumer_inputs()) >= 2


class Fickle(nn.Module):
    """Takes another way with more than two samples."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.first(x)
        return self.second(x.relu() if len(x) > 2 else x.tanh())


def test_another_way_than_the_traced_one_is_refused():
    model = Fickle()
    graph = build_channel_graph(model, (torch.randn(1, 3, 4, 4),))
    sites = graph.sites(graph.groups[0]).consumer_inputs()
    with pytest.raises(TraceError, match="takes another way"):
        seen_at(model, graph, torch.randn(4, 3, 4, 4), sites)


def test_the_model_is_as_it_was_after_a_watched_run():
    model = CifarResNet(1).train()
    graph = build_channel_graph(model, (torch.randn(1, 3, 16, 16),))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sites = graph.sites(graph.groups[0]).consumer_inputs()
    seen_at(model, graph, torch.randn(4, 3, 16, 16), sites)
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_norms_behind_a_layer_are_those_that_alone_read_it():
    model = models.vgg11_bn(weights=None)
    graph = build_channel_graph(model, (torch.randn(1, 3, 32, 32),))
    assert graph.norms_behind("features.0") == ("features.1",)
    assert graph.norms_behind("classifier.0") == ()


class Gate(nn.Module):
    """Squeeze-and-excite behind a residual layer, expanded by hand."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1)
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.layer(x)
        scale = torch.sigmoid(self.up(self.down(y.mean((2, 3))).relu()))
        x = (x + y * scale[:, :, None, None].expand_as(y)).relu()
        return self.head(x.mean((2, 3)))


def test_a_gate_makes_no_channels_and_a_gated_layer_is_seen_behind_the_sum():
    model, x = Gate(), torch.randn(2, 3, 8, 8)
    graph = build_channel_graph(model, (x[:1],))
    layers = graph.sites(graph.group("stem")).layers()
    assert list(layers) == ["stem", "layer"]
    _, (value,) = seen_at(model, graph, x, [layers["layer"]])
    with torch.no_grad():
        expected = model.head(value.relu().mean((2, 3)))
        torch.testing.assert_close(expected, model(x))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_squeeze_and_excite_adds_no_layers_to_a_group(name):
    model = models.get_model(name, weights=None)
    graph = build_channel_graph(model, (torch.randn(1, 3, 64, 64),))
    layers = [name for group in graph.groups for name in graph.sites(group).layers()]
    assert not [name for name in layers if name.endswith("fc2")]
    assert [name for name in layers if name.endswith("fc1")]
