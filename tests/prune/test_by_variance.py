"""Widths and depth by principal components."""

import itertools

import pytest
import torch
from torch import nn
from torchvision import models

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.surgery import apply
from edgeprune.prune.by_variance import (
    VARIANCES,
    Depth,
    depth_by_growth,
    plan_by_variance,
    widths_by_variance,
)
from edgeprune.records import Spectra, Spectrum
from tests.nets import CifarResNet

VGG16 = ["0", "3", "7", "10", "14", "17", "20", "24", "27", "30", "34", "37", "40"]
# Garg et al., "A Low Effort Approach to Structured CNN Design Using PCA", table 2.
TABLE2 = [11, 42, 103, 118, 238, 249, 249, 424, 271, 160, 36, 38, 42]


def spectrum(name, channels, dimensions):
    """One whose first components explain all but nothing."""
    explained = [
        0.9995 + 1e-4 * min(1, index / channels)
        if index + 1 >= dimensions
        else 0.99 * (index + 1) / dimensions
        for index in range(channels)
    ]
    return Spectrum(name, 10**5, (*explained[:-1], 1.0))


def vgg16():
    model = models.vgg16_bn(num_classes=10)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Linear(512, 10)
    graph = build_channel_graph(model, (torch.randn(1, 3, 32, 32),))
    layers = tuple(
        spectrum(group.name, group.size, dimensions)
        for group, dimensions in zip(graph.groups, TABLE2, strict=True)
    )
    return model, graph, Spectra(layers, layers, 512, 0.0)


def test_the_papers_dimensions_give_the_papers_layers():
    _, graph, found = vgg16()
    assert [group.name for group in graph.groups] == [f"features.{n}" for n in VGG16]
    depth = depth_by_growth(graph, found, 0.999)
    gone = [f"features.{VGG16[index]}" for index in (6, 8, 9, 10, 11, 12)]
    norms = [f"features.{int(VGG16[index]) + 1}" for index in (6, 8, 9, 10, 11, 12)]
    assert set(depth.removed) == {*gone, *norms}
    assert depth.notes == ()


def test_a_network_without_the_removed_layers_runs_and_is_as_wide_as_planned():
    model, graph, found = vgg16()
    depth = depth_by_growth(graph, found, 0.999)
    scores = {group.name: torch.rand(group.size) for group in graph.groups}
    plan = plan_by_variance(graph, found, scores, 0.999, depth)
    pruned = apply(model, graph, plan)
    convs = [layer for layer in pruned.modules() if isinstance(layer, nn.Conv2d)]
    # 11, 42, 103, ... up to the next multiple of 8.
    assert [conv.out_channels for conv in convs] == [16, 48, 104, 120, 240, 256, 424]
    outputs = pruned(torch.randn(2, 3, 32, 32))
    assert outputs.shape == (2, 10)
    outputs.sum().backward()  # no ReLU works in place on what another has returned
    assert model.features[2].inplace


def test_a_layer_between_two_widths_stays_and_is_named():
    _, graph, found = vgg16()
    flat = tuple(spectrum(item.name, item.channels, 5) for item in found.layers)
    depth = depth_by_growth(graph, Spectra(flat, flat, 1, 0.0), 0.999)
    assert "features.3" in depth.removed
    assert not set(depth.removed) & {"features.7", "features.14", "features.24"}
    assert [note.split()[0] for note in depth.notes] == [
        "features.7",
        "features.14",
        "features.24",
    ]


def test_residual_blocks_that_add_no_dimensions_go():
    model = models.resnet18(weights=None)
    graph = build_channel_graph(model, (torch.randn(1, 3, 64, 64),))
    dimensions = {"layer2.1.conv2": 60, "layer2.0.conv2": 60, "layer3.1.conv2": 99}
    layers = tuple(
        spectrum(name, group.size, dimensions.get(name, 50))
        for group in graph.groups
        for name in graph.sites(group).layers()
    )
    depth = depth_by_growth(graph, Spectra((), layers, 1, 0.0), 0.999)
    assert set(depth.removed) == {"layer1.0", "layer1.1", "layer2.1", "layer4.1"}
    pruned = apply(
        model,
        graph,
        plan_by_variance(graph, Spectra((), layers, 1, 0.0), {}, 0.999, depth),
    )
    assert isinstance(pruned.layer4[1], nn.Identity)


def test_more_variance_never_means_fewer_channels():
    model = CifarResNet(2)
    graph = build_channel_graph(model, (torch.randn(1, 3, 16, 16),))
    generator = torch.Generator().manual_seed(0)
    groups = tuple(
        Spectrum(
            group.name,
            1000,
            tuple(
                torch.rand(group.size, generator=generator)
                .sort(descending=True)[0]
                .cumsum(0)
                .div(group.size)
                .tolist()
            ),
        )
        for group in graph.groups
    )
    found = Spectra(groups, (), 1, 0.0)
    rows = [widths_by_variance(graph, found, share) for share in VARIANCES]
    for narrow, wide in itertools.pairwise(rows):
        assert all(narrow[name] <= wide[name] for name in wide)


@pytest.mark.parametrize(
    ("dimensions", "width"), [(1, 4), (4, 4), (5, 8), (9, 16), (64, 64)]
)
def test_widths_are_those_that_runtimes_compute_anyway(dimensions, width):
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 2, 1))
    graph = build_channel_graph(model, (torch.randn(1, 3, 8, 8),))
    found = Spectra((spectrum("0", 64, dimensions),), (), 1, 0.0)
    assert widths_by_variance(graph, found, 0.999) == {"0": width}
    plan = plan_by_variance(graph, found, {"0": torch.arange(64.0)}, 0.999, Depth())
    assert plan.kept.get("0", tuple(range(64))) == tuple(range(64 - width, 64))


class Branches(nn.Module):
    """A residual block whose sum has two branches of its own."""

    def __init__(self):
        super().__init__()
        self.b = nn.Conv2d(16, 16, 3, padding=1)
        self.a, self.m = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x):
        return (x + self.b(x) + self.m(self.a(x).relu())).relu()


def residual_spectra(graph, dimensions):
    layers = [
        spectrum(name, group.size, dimensions.get(name.partition(".")[0], 1))
        for group in graph.groups
        for name in graph.sites(group).layers()
    ]
    return Spectra((), tuple(layers), 1, 0.0)


@pytest.mark.parametrize(
    ("dimensions", "gone"),
    [((4, 8, 12), ()), ((4, 8, 8), ("2",)), ((4, 4, 4), ("1", "2"))],
)
def test_a_block_with_several_branches_is_judged_once(dimensions, gone):
    stem = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())
    model = nn.Sequential(stem, Branches(), Branches(), nn.Conv2d(16, 2, 1))
    graph = build_channel_graph(model, (torch.randn(1, 3, 8, 8),))
    found = residual_spectra(graph, dict(zip("012", dimensions, strict=True)))
    assert depth_by_growth(graph, found, 0.999).removed == gone


def test_parallel_branches_are_not_held_against_each_other():
    model = models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    graph = build_channel_graph(model, (torch.randn(1, 3, 96, 96),))
    layers = [
        spectrum(name, group.size, group.size)
        for group in graph.groups
        for name in graph.sites(group).layers()
    ]
    depth = depth_by_growth(graph, Spectra((), tuple(layers), 1, 0.0), 0.999)
    reduced = [name for name in depth.removed if name.endswith("conv")]
    # Only what a layer of as many channels on the same branch comes before.
    for name in reduced:
        conv = model.get_submodule(name)
        assert conv.in_channels == conv.out_channels
