"""Penalties and priors that make zeros: as many as are wanted, and the right ones."""

import pytest
import torch
from torch import nn

from edgeprune.data.splits import Arrays, Reading, array_splits
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.loop import evaluate, train
from edgeprune.graph.channels import Channels
from edgeprune.graph.layers import weights_of
from edgeprune.graph.surgery import apply
from edgeprune.graph.survey import survey
from edgeprune.sparse.bayesian import Variational, kl_divergence
from edgeprune.sparse.penalised import Penalised
from edgeprune.sparse.penalties import Blocks, Elements
from edgeprune.sparse.zeros import plan_of_zeros, zero_channels
from tests.data_sets import splits
from tests.nets import Bottom

SHARE = 0.5
RATES = {"sgd": 0.02, "adamw": 2e-3}


@pytest.fixture(scope="module")
def learnt():
    torch.manual_seed(0)
    model, _ = train(Bottom(16), splits(), TrainingConfig("base", 6))
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    return model, graph


def methods(model, graph):
    channels = Channels(model, graph.groups)
    return {
        "group lasso": Penalised(Blocks(channels, channels.made, even=True), SHARE),
        "slimming": Penalised(Blocks(channels, channels.scales, even=False), SHARE),
        "bayesian": Variational(
            channels, 240, SHARE, generator=torch.Generator().manual_seed(0)
        ),
    }


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", ["group lasso", "slimming", "bayesian"])
def test_as_many_channels_are_zero_as_were_wanted_and_can_go(learnt, name, optimizer):
    model, graph = learnt
    held = methods(model, graph)[name]
    config = TrainingConfig(
        "x", 8, learning_rate=RATES[optimizer], optimizer=optimizer, constraint=held
    )
    trained, _ = train(model, splits(), config)
    channels = Channels(trained, graph.groups)
    zero = zero_channels(trained, channels)
    known = 16 if name == "slimming" else len(channels)  # with a batch norm
    assert int(zero.sum()) == round(SHARE * known)
    assert held.by_itself <= SHARE + 1e-6
    assert evaluate(trained, splits().test) > 0.85
    plan = plan_of_zeros(trained, graph, splits().calibration)
    gone = sum(graph.group(n).size - len(kept) for n, kept in plan.kept.items())
    assert gone == int(zero.sum())
    double = trained.double().eval()
    smaller = apply(double, survey(double, (torch.randn(2, 3, 8, 8).double(),)), plan)
    x = torch.randn(4, 3, 8, 8).double()
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), double(x), rtol=1e-12, atol=1e-12)


def test_the_l1_norm_makes_as_many_zero_weights(learnt):
    model, _ = learnt
    names = weights_of(model)
    held = Penalised(Elements(names), 0.8)
    trained, _ = train(model, splits(), TrainingConfig("x", 8, constraint=held))
    tensors = dict(trained.named_parameters())
    zero = sum(int((tensors[name] == 0).sum()) for name in names)
    assert zero / sum(tensors[name].numel() for name in names) == pytest.approx(
        0.8, abs=0.01
    )
    assert held.by_itself > 0.4  # the penalty made most of them
    assert evaluate(trained, splits().test) > 0.85


def test_a_given_penalty_is_kept_and_a_large_one_makes_more_zeros(learnt):
    model, graph = learnt
    channels = Channels(model, graph.groups)
    reached = []
    for weight in (1e-3, 0.3):
        blocks = Blocks(channels, channels.made, even=True)
        held = Penalised(blocks, 0.01, weight)
        train(model, splits(), TrainingConfig("x", 4, constraint=held))
        assert held.weight == weight
        reached.append(held.by_itself)
    assert reached[0] < reached[1]


def test_no_group_loses_its_last_channel(learnt):
    model, graph = learnt
    channels = Channels(model, graph.groups)
    for held in (
        Penalised(Blocks(channels, channels.made, even=True), 0.99),
        Penalised(Blocks(channels, channels.made, even=True), 0.99, 10.0),
        Variational(channels, 240, 0.99),
    ):
        trained, _ = train(model, splits(), TrainingConfig("x", 2, constraint=held))
        zero = zero_channels(trained, channels)
        for group in graph.groups:
            assert not zero[channels.of_group(group)].all()


class Planted(nn.Module):
    """Units of which half are given the inputs that carry the label."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 4)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(16))
            self.first.bias.fill_(1.0)
            self.second.weight.fill_(0.3)
            self.second.weight.add_(0.1 * torch.randn(4, 16))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def planted_splits():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 4
    x = torch.randn(1200, 16, generator=generator)
    for unit in range(8):  # the first eight inputs carry the label
        x[:, unit] = 2.0 * (y == unit % 4) + 0.3 * x[:, unit]
    x, y = x.numpy(), y.numpy()
    arrays = Arrays(
        "planted", x[:800], y[:800], x[1000:], y[1000:], x[800:1000], y[800:1000]
    )
    return array_splits(arrays, Reading(50))


@pytest.mark.parametrize("name", ["group lasso", "bayesian"])
def test_channels_that_only_carry_noise_are_those_that_go(name):
    torch.manual_seed(0)
    model, data = Planted(), planted_splits()
    graph = survey(model, (torch.randn(2, 16),))
    held = methods(model, graph)[name]
    trained, _ = train(
        model, data, TrainingConfig("x", 25, learning_rate=0.05, constraint=held)
    )
    zero = zero_channels(trained, Channels(trained, graph.groups))
    assert torch.nonzero(zero).flatten().tolist() == list(range(8, 16))
    assert evaluate(trained, data.test) > 0.95


def test_dead_inputs_drown_and_useful_ones_do_not():
    """The posterior itself, at the weight that the prior has by itself."""
    torch.manual_seed(0)
    model, data = Planted(), planted_splits()
    graph = survey(model, (torch.randn(2, 16),))
    held = Variational(Channels(model, graph.groups), 800, 0.5, 1.0)
    train(model, data, TrainingConfig("x", 60, learning_rate=0.05, constraint=held))
    noise = held.log_alpha.detach()
    assert float(noise[8:].min()) > 0.5  # more noise than signal
    assert float(noise[:8].max()) < float(noise[8:].min()) - 1.0


def test_the_divergence_is_that_of_the_log_uniform_prior():
    """Against the integral that it approximates, but for its constant."""
    points = torch.linspace(-8, 4, 13)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2_000_000, generator=generator)
    # KL = -0.5 log alpha + E log |1 + sqrt(alpha) e| + constant, e normal
    exact = torch.stack(
        [-0.5 * point + _logarithm(1 + (0.5 * point).exp() * noise) for point in points]
    )
    found = kl_divergence(points)
    difference = found - exact
    assert float(difference.max() - difference.min()) < 0.03
    assert (found.diff() < 0).all()


def _logarithm(values):
    return values.abs().clamp_min(1e-12).log().mean()
