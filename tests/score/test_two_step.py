"""Cheap first, expensive near the cut; blocks; the ungrouped proxy."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from edgeprune.errors import ScoreError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.records import Spectra, Spectrum
from edgeprune.score.blocks import score_blocks
from edgeprune.score.context import Context
from edgeprune.score.criteria import CRITERIA, comparable_scores, score_channels
from edgeprune.score.two_step import parse_criteria, rescore
from edgeprune.score.ungrouped import ungrouped, united
from tests.nets import Bottom, CifarResNet


def context_of(model, size=8, samples=12):
    x = torch.randn(samples, 3, size, size)
    y = torch.arange(samples) % 4
    return Context(
        model, build_channel_graph(model, (x[:1],)), [(x, y)], samples=samples
    )


def held(scores):
    return {item.name: np.array(item.scores) for item in scores.groups}


def test_one_criterion_or_two_are_understood():
    assert parse_criteria("l1") == ("l1", None)
    assert parse_criteria("l1, obd") == ("l1", "obd")
    with pytest.raises(ScoreError, match="'l3'"):
        parse_criteria("l1,l3")
    with pytest.raises(ScoreError, match="one criterion, or two"):
        parse_criteria("l1,l2,obd")


def test_only_channels_near_the_cut_change_places_and_by_the_second_criterion():
    context = context_of(Bottom(32))
    first = score_channels("l1", context)
    cuts = {"first": 20, "second": 64}
    found = rescore("taylor", context, first, cuts)
    before, after = held(first), held(found)
    np.testing.assert_array_equal(before["second"], after["second"])  # nothing is cut
    ranked = np.argsort(-before["first"])
    candidates = ranked[16:24]
    rest = np.setdiff1d(np.arange(32), candidates)
    np.testing.assert_array_equal(before["first"][rest], after["first"][rest])
    np.testing.assert_array_equal(np.sort(before["first"]), np.sort(after["first"]))
    second = held(score_channels("taylor", context))["first"][candidates]
    order = candidates[np.argsort(-second)]
    assert list(np.argsort(-after["first"])[16:24]) == list(order)
    assert not np.array_equal(before["first"], after["first"])
    assert found.rescored.channels == 8
    assert found.rescored.of == 96
    assert found.rescored.estimated_seconds_of_all > 0


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_can_be_the_second(name):
    context = context_of(CifarResNet(1), size=16)
    cuts = {group.name: group.size // 2 for group in context.graph.groups}
    found = rescore(name, context, score_channels("l2", context), cuts)
    assert found.criterion == "l2"
    assert found.rescored.criterion == name


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_scores_blocks_by_their_own_layers(name):
    context = context_of(CifarResNet(2), size=16)
    scores = score_channels(name, context)
    ranked = {item.name: torch.tensor(item.scores) for item in scores.groups}
    found = score_blocks(name, context, ["layer1.0", "layer1.1", "layer3.1"], ranked)
    assert set(found) == {"layer1.0", "layer1.1", "layer3.1"}
    assert all(np.isfinite(list(found.values())))


@pytest.mark.parametrize("name", ["l1", "l2", "taylor_weight", "obd", "slimming"])
def test_a_block_that_adds_nothing_scores_nothing(name):
    model = CifarResNet(2)
    with torch.no_grad():
        model.layer1[1].conv2.weight.zero_()
        model.layer1[1].bn2.weight.zero_()
    context = context_of(model, size=16)
    scores = score_channels(name, context)
    ranked = {item.name: torch.tensor(item.scores) for item in scores.groups}
    found = score_blocks(name, context, ["layer1.0", "layer1.1"], ranked)
    assert found["layer1.1"] == 0 < found["layer1.0"]


def test_the_l1_score_of_a_block_is_in_the_unit_of_its_stages_channels():
    model = CifarResNet(2)
    context = context_of(model, size=16)
    scores = score_channels("l1", context)
    ranked = {item.name: torch.tensor(item.scores) for item in scores.groups}
    found = score_blocks("l1", context, ["layer1.1"], ranked)["layer1.1"]
    norms = model.layer1[1].conv2.weight.detach().abs().flatten(1).sum(1)
    mean = float(comparable_mean := ranked["conv1"].mean())
    assert found == pytest.approx(float(norms.sum()) / mean, rel=1e-5)
    compared = comparable_scores(scores, context.graph)["conv1"]
    assert float(compared.mean()) == pytest.approx(float(comparable_mean) / mean)


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x0_5"])
def test_an_ungrouped_proxy_computes_the_same_and_can_be_analysed(name):
    model = models.get_model(name, weights=None).eval()
    proxy = ungrouped(model)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(proxy(x), model(x), rtol=1e-4, atol=1e-5)
    assert all(
        module.groups == 1
        for module in proxy.modules()
        if isinstance(module, nn.Conv2d)
    )
    both = [build_channel_graph(net, (x[:1],)) for net in (model, proxy)]
    assert len(both[1].groups) > len(both[0].groups)


def test_a_group_that_is_several_in_the_proxy_needs_as_much_as_the_most_needy():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1)
    )
    x = torch.randn(1, 3, 8, 8)
    graph, proxy = (
        build_channel_graph(model, (x,)),
        build_channel_graph(ungrouped(model), (x,)),
    )
    curves = ((0.5, 0.9, *[1.0] * 6), (0.6, 0.7, *[1.0] * 6))
    found = Spectra(
        tuple(
            Spectrum(group.name, 10, curve)
            for group, curve in zip(proxy.groups, curves, strict=True)
        ),
        (),
        1,
        0.0,
    )
    (group,) = united(found, proxy, graph).groups
    assert group.explained == (0.5, 0.7, *[1.0] * 6)


def test_a_transposed_grouped_convolution_is_made_dense_too():
    model = nn.ConvTranspose2d(6, 4, 3, groups=2)
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(ungrouped(nn.Sequential(model))(x), model(x))


def test_labels_that_lie_in_a_row_only_cost_the_estimate():
    model = Bottom(32)
    x, y = torch.randn(200, 3, 8, 8), (torch.arange(200) >= 100).long()
    context = Context(
        model, build_channel_graph(model, (x[:1],)), [(x, y)], samples=512
    )
    found = rescore("pls_vip", context, score_channels("l1", context), {"first": 16})
    assert found.rescored.estimated_seconds_of_all is None


def test_channels_that_span_several_of_the_proxys_take_one_in_so_many():
    model = models.resnext50_32x4d(weights=None)
    x = torch.randn(1, 3, 64, 64)
    graph, proxy = (
        build_channel_graph(model, (x,)),
        build_channel_graph(ungrouped(model), (x,)),
    )
    found = Spectra(
        tuple(
            Spectrum(
                group.name,
                1,
                tuple((n + 1) / group.size for n in range(group.size)),
            )
            for group in proxy.groups
        ),
        (),
        1,
        0.0,
    )
    mapped = {item.name: item for item in united(found, proxy, graph).groups}
    assert set(mapped) == {group.name for group in graph.groups}
    spans = graph.group("layer1.0.conv1")
    assert spans.granularity == 4
    assert mapped[spans.name].significant(0.5) == 16
