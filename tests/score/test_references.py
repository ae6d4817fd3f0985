"""Each criterion against a slow, obvious version of itself."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional as F

from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.score.context import Context
from edgeprune.score.criteria import CRITERIA, score_channels
from edgeprune.score.hopls import hopls_importance
from edgeprune.score.pca import spectra
from edgeprune.score.pls import one_hot, pls_importance

SAMPLES, CLASSES = 24, 3


class Tiny(nn.Module):
    """Two convolutions with batch norm, and a linear layer over all positions."""

    def __init__(self, act=F.relu, side=5):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4 * (side - 2) ** 2, CLASSES)
        self.act = act

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        return self.head(self.act(self.second(x)).flatten(1))


def data(side=5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 2, side, side, generator=generator).double()
    return x, torch.arange(SAMPLES) % CLASSES


def made(act=F.relu, side=5):
    """A network in float64 whose norms are not trivial, with its data."""
    model = Tiny(act, side).double().eval()
    with torch.no_grad():
        for tensor in (model.norm.weight, model.norm.bias, model.norm.running_mean):
            tensor.copy_(torch.randn(6))
        model.norm.running_var.copy_(torch.rand(6) + 0.5)
    x, y = data(side)
    graph = build_channel_graph(model, (x[:1],))
    batches = [(x[at : at + 8], y[at : at + 8]) for at in range(0, SAMPLES, 8)]
    return model, Context(model, graph, batches, samples=SAMPLES)


def scores_of(name, context):
    found = score_channels(name, context)
    return {group.name: np.array(group.scores) for group in found.groups}


def activations(model, x):
    """What the second convolution and the head read."""
    first = model.act(model.norm(model.first(x)))
    return first, model.act(model.second(first))


def test_fpgm_is_the_sum_of_distances_to_the_other_filters():
    model, context = made()
    rows = model.first.weight.detach().flatten(1).tolist()
    expected = [sum(math.dist(one, other) for other in rows) for one in rows]
    np.testing.assert_allclose(scores_of("fpgm", context)["first"], expected)


def test_slimming_is_the_scale_or_the_norm_of_the_filter_where_there_is_none():
    model, context = made()
    found = scores_of("slimming", context)
    np.testing.assert_allclose(found["first"], model.norm.weight.detach().abs().numpy())
    norms = [math.hypot(*row) for row in model.second.weight.flatten(1).tolist()]
    np.testing.assert_allclose(found["second"], norms)


def test_apoz_is_the_share_of_positions_that_are_not_zero():
    model, context = made()
    x, _ = data()
    first, second = (value.detach().numpy() for value in activations(model, x))
    found = scores_of("apoz", context)
    for name, values in (("first", first), ("second", second)):
        expected = [
            1 - sum(v == 0 for v in values[:, c].ravel()) / values[:, c].size
            for c in range(values.shape[1])
        ]
        np.testing.assert_allclose(found[name], expected)
        assert min(expected) < max(expected)


def test_output_gradient_of_a_linear_network_is_a_sum_over_its_weights():
    model, context = made(act=nn.Identity())
    expected = model.head.weight.abs().reshape(CLASSES, 4, -1).sum((0, 2))
    found = scores_of("output_gradient", context)
    np.testing.assert_allclose(found["second"], expected.detach().numpy())
    # One layer before, each position reaches the outputs through the second layer.
    through = torch.einsum(
        "cop,oi->cip",
        model.head.weight.reshape(CLASSES, 4, -1),
        model.second.weight[:, :, 0, 0],
    )
    np.testing.assert_allclose(
        found["first"], through.abs().sum((0, 2)).detach().numpy()
    )


def test_output_gradient_of_many_classes_lies_below_the_norm_over_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 1), nn.Flatten(), nn.Linear(5, 200)).double()
    x = torch.randn(64, 1, 1, 1).double()
    context = Context(
        model, build_channel_graph(model, (x[:1],)), [(x, torch.zeros(64).long())]
    )
    norms = model[2].weight.norm(dim=0).detach().numpy()
    shares = scores_of("output_gradient", context)["0"] / norms
    assert shares.max() < 1.05
    assert shares.min() > 0.65


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_obd_is_the_exact_diagonal_of_the_hessian():
    """Of a network that is linear in each weight, so that Gauss-Newton is exact."""
    model, context = made()
    x, y = data()

    def loss(weight, name):
        named = {**dict(model.named_parameters()), name: weight}
        return F.cross_entropy(torch.func.functional_call(model, named, x), y)

    found = dict.fromkeys(("first", "second"), 0.0)
    draws = 200
    for seed in range(draws):
        drawn = Context(
            model, context.graph, context.batches, samples=SAMPLES, seed=seed
        )
        for name, scores in scores_of("obd", drawn).items():
            found[name] = found[name] + scores / draws
    for name in found:
        weight = model.get_parameter(f"{name}.weight").detach()
        hessian = torch.func.hessian(loss)(weight, f"{name}.weight")
        size = weight.numel()
        diagonal = hessian.reshape(size, size).diagonal().reshape(weight.shape)
        # The labels are no part of it: the Hessian's other term is zero here.
        expected = (diagonal * weight.square() / 2).flatten(1).sum(1).detach().numpy()
        np.testing.assert_allclose(found[name], expected, rtol=0.15)


def test_taylor_weight_is_the_squared_sum_of_weights_times_gradients():
    model, context = made()
    expected = np.zeros(6)
    for x, y in context.batches:
        F.cross_entropy(model(x), y).backward()
        weight = model.first.weight
        flow = (weight * weight.grad).flatten(1).sum(1)
        expected += flow.square().detach().numpy() / 3
        model.zero_grad(set_to_none=True)
    np.testing.assert_allclose(scores_of("taylor_weight", context)["first"], expected)


def vip_by_loops(x, y, components):
    """Mehmood 2012, term by term."""
    model = PLSRegression(components).fit(x, y)
    weights, latent, loadings = model.x_weights_, model.x_scores_, model.y_loadings_
    variables = x.shape[1]
    explained = [
        sum(loadings[:, k] ** 2) * sum(latent[:, k] ** 2) for k in range(components)
    ]
    return [
        math.sqrt(
            variables
            * sum(
                explained[k] * (weights[j, k] / np.linalg.norm(weights[:, k])) ** 2
                for k in range(components)
            )
            / sum(explained)
        )
        for j in range(variables)
    ]


def test_pls_vip_takes_the_pooled_maps_of_all_layers_at_once():
    model, context = made()
    x, y = data()
    first, second = (value.detach() for value in activations(model, x))
    pooled = torch.cat([first.mean((2, 3)), second.mean((2, 3))], 1).numpy()
    components = np.linalg.matrix_rank(pooled - pooled.mean(0))
    assert components < 10  # one of the channels is never active
    expected = vip_by_loops(pooled, np.eye(CLASSES)[y.numpy()], components)
    found = scores_of("pls_vip", context)
    # What iterations leave open: scikit-learn stops them at 1e-6.
    np.testing.assert_allclose([*found["first"], *found["second"]], expected, rtol=1e-3)
    assert sum(value**2 for value in expected) == pytest.approx(10)


def test_hopls_vip_of_maps_of_one_position_is_pls_vip():
    x = np.random.default_rng(0).standard_normal((60, 7))
    y = one_hot(torch.arange(60) % 4)
    found = hopls_importance(x[:, :, None, None], y)
    np.testing.assert_allclose(found, vip_by_loops(x, y, 5), rtol=1e-3)
    assert (found**2).mean() == pytest.approx(1)


def planted(decisive=3, channels=6, side=4):
    """Maps of which one carries the label in its pattern, at the same mean."""
    rng = np.random.default_rng(0)
    labels = torch.arange(120) % 2
    maps = rng.standard_normal((120, channels, side, side))
    pattern = np.sign(rng.standard_normal((side, side)))
    pattern -= pattern.mean()
    for index, label in enumerate(labels.tolist()):
        maps[index, decisive] += pattern if label else -pattern
    maps[:, decisive] -= maps[:, decisive].mean((1, 2), keepdims=True)
    return maps, one_hot(labels)


def test_hopls_vip_finds_a_filter_by_its_spatial_pattern_where_pls_vip_does_not():
    maps, y = planted()
    assert int(hopls_importance(maps, y).argmax()) == 3
    assert int(pls_importance(maps.mean((2, 3)), y).argmin()) == 3


def test_hopls_vip_does_not_care_for_the_order_of_channels_or_positions():
    maps, y = planted()
    found = hopls_importance(maps, y)
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(hopls_importance(maps[:, order], y), found[order])
    turned = hopls_importance(maps.swapaxes(2, 3), y)
    np.testing.assert_allclose(turned, found, rtol=1e-2)  # stops after some sweeps


def test_pca_scores_are_the_rests_outside_the_span_of_those_before():
    model, context = made()
    x, _ = data()
    before = model.norm(model.first(x)).detach()
    rows = before.movedim(1, -1).reshape(-1, 6).numpy()
    rest = np.cov(rows.T, bias=True)
    expected = np.zeros(6)
    for _ in range(6):
        norms = np.linalg.norm(rest, axis=0)
        best = int(norms.argmax())
        expected[best] = norms[best]
        direction = rest[:, best] / norms[best]
        rest = rest - np.outer(direction, direction @ rest)
    np.testing.assert_allclose(scores_of("pca", context)["first"], expected, rtol=1e-6)


def test_spectra_are_those_of_scikit_learn():
    model, context = made()
    x, _ = data()
    before = model.norm(model.first(x)).detach()
    rows = before.movedim(1, -1).reshape(-1, 6).numpy()
    reference = PCA().fit(rows).explained_variance_ratio_.cumsum()
    layer = spectra(context).layers[0]
    assert (layer.name, layer.rows) == ("first", len(rows))
    np.testing.assert_allclose(layer.explained, reference)
    for variance in (0.3, 0.9, 0.99, 1.0):
        fewest = int(np.searchsorted(reference, variance - 1e-12) + 1)
        assert layer.significant(variance) == min(fewest, 6)


def test_a_planted_rank_is_found():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 1, bias=False), nn.ReLU(), nn.Conv2d(32, 2, 1)
    )
    context = Context(
        model,
        build_channel_graph(model, (torch.randn(1, 3, 8, 8),)),
        [(torch.randn(64, 3, 8, 8), torch.zeros(64).long())],
    )
    (group,) = spectra(context).groups
    assert group.significant(0.99999) == 3
    assert group.rows >= 100 * 32


class Stage(nn.Module):
    """Two residual layers on one stream."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3)
        self.one = nn.Conv2d(10, 10, 3, padding=1)
        self.two = nn.Conv2d(10, 10, 3, padding=1)
        self.head = nn.Conv2d(10, 2, 1)

    def sums(self, x):
        first = self.stem(x)
        second = first.relu() + self.one(first.relu())
        return [first, second, second.relu() + self.two(second.relu())]

    def forward(self, x):
        return self.head(self.sums(x)[-1].relu()).mean((2, 3))


def test_the_channels_of_a_residual_stage_are_one_set_of_variables():
    model, x = Stage().double(), torch.randn(16, 3, 8, 8).double()
    context = Context(
        model, build_channel_graph(model, (x[:1],)), [(x, torch.zeros(16).long())]
    )
    found = spectra(context)
    assert [layer.name for layer in found.layers] == ["stem", "one", "two"]
    united = np.zeros((10, 10))
    for layer, value in zip(found.layers, model.sums(x), strict=True):
        rows = value.detach().movedim(1, -1).reshape(-1, 10).numpy()
        covariance = np.cov(rows.T, bias=True)
        united += covariance / covariance.trace()
        values = np.linalg.eigvalsh(covariance)[::-1]
        np.testing.assert_allclose(layer.explained, values.cumsum() / values.sum())
    values = np.linalg.eigvalsh(united)[::-1]
    (stage,) = found.groups
    np.testing.assert_allclose(stage.explained, values.cumsum() / values.sum())


@pytest.mark.parametrize("name", CRITERIA)
def test_what_is_read_in_other_portions_is_scored_alike(name):
    """Only what a batch draws together depends on its size."""
    if name in ("obd", "taylor_weight"):
        pytest.skip("a mean over batches by definition")
    _, context = made()
    whole = Context(
        context.model, context.graph, [data()], samples=SAMPLES, step=SAMPLES
    )
    first, second = scores_of(name, context), scores_of(name, whole)
    for group in first:
        np.testing.assert_allclose(first[group], second[group], rtol=1e-6, atol=1e-12)


def test_the_model_may_be_frozen_by_its_owner():
    model, context = made()
    expected = scores_of("taylor", context)["first"]
    frozen = copy.deepcopy(model).requires_grad_(False)
    graph = build_channel_graph(frozen, (data()[0][:1],))
    found = scores_of("taylor", Context(frozen, graph, context.batches, SAMPLES))
    np.testing.assert_allclose(found["first"], expected)
