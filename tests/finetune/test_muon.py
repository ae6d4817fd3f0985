"""Orthogonal steps, against singular vectors and against SGD."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.finetune import loop
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.formats import CANDIDATES
from edgeprune.finetune.loop import train
from edgeprune.finetune.muon import RELATIVE_STEP, Muon, orthogonal
from edgeprune.finetune.trainer import Trainer
from tests.commands import KilledError
from tests.data_sets import splits
from tests.nets import Bottom


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4), (1, 5)])
def test_singular_vectors_stay_and_singular_values_become_about_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonal(matrix) @ right.T
    found = inside.diagonal()
    torch.testing.assert_close(inside, found.diag(), atol=1e-4, rtol=0)
    full = values > 0.05 * values[0]
    assert (found[full] > 0.6).all()
    assert (found < 1.25).all()


def test_gradients_of_nearly_no_rank_make_no_trouble():
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(12, 40), full_matrices=False)
    values = torch.logspace(0, -9, 12)
    found = orthogonal(left @ values.diag() @ right)
    assert torch.linalg.matrix_norm(found, 2) < 1.25
    inside = (left.T @ found @ right.T).diagonal()
    assert (inside[values > 1e-2] > 0.6).all()
    assert inside[-1].abs() < 0.1


def test_strong_directions_do_not_drown_weak_ones():
    first, second = torch.eye(8)[:2]
    found = orthogonal(100 * torch.outer(first, first) + 3 * torch.outer(second, first))
    assert torch.linalg.matrix_norm(found, 2) < 1.25
    found = orthogonal(
        100 * torch.outer(first, first) + 3 * torch.outer(second, second)
    )
    assert found[1, 1] > 0.5 * found[0, 0]


def slow(weights, gradients, rate, momentum, decay):
    """Steps along exact polar factors, as long as a share of the weights."""
    weight, past = weights.astype(float), np.zeros(weights.shape)
    for gradient in gradients:
        past = momentum * past + gradient
        wanted = (gradient + momentum * past).reshape(len(weight), -1)
        left, _, right = np.linalg.svd(wanted, full_matrices=False)
        length = np.linalg.norm(weight)
        weight = weight * (1 - rate * decay)
        turned = (left @ right).reshape(weight.shape)
        weight = weight - rate * RELATIVE_STEP * length * turned / np.linalg.norm(
            turned
        )
    return weight


def stepped(weights, gradients, **settings):
    weight = nn.Parameter(torch.as_tensor(weights).clone())
    optimizer = Muon([weight], **settings)
    for gradient in gradients:
        weight.grad = torch.as_tensor(gradient).clone()
        optimizer.step()
    return weight.detach()


def test_steps_of_kernels_are_those_of_a_slow_version():
    torch.manual_seed(0)
    weights, gradients = torch.randn(4, 3, 3, 3), torch.randn(5, 4, 3, 3, 3)
    found = stepped(weights, gradients, lr=0.1, momentum=0.9, weight_decay=0.01)
    expected = slow(weights.numpy(), gradients.numpy(), 0.1, 0.9, 0.01)
    moved = np.linalg.norm(expected - weights.numpy())
    assert np.linalg.norm(found.numpy() - expected) < 0.25 * moved
    turned = np.sum((found - weights).numpy() * (expected - weights.numpy()))
    assert turned / moved / float((found - weights).norm()) > 0.97


def test_a_step_is_a_share_of_the_weights_whatever_the_gradients_size():
    torch.manual_seed(0)
    weights, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    step = stepped(weights, [gradient], lr=0.1) - weights
    assert step.norm() / weights.norm() == pytest.approx(0.1 * RELATIVE_STEP, rel=1e-3)
    strong = stepped(weights, [1000 * gradient], lr=0.1) - weights
    torch.testing.assert_close(strong, step, rtol=1e-3, atol=1e-6)
    large = stepped(10 * weights, [gradient / 10], lr=0.1) - 10 * weights
    torch.testing.assert_close(large, 10 * step, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (6, 1, 3, 3), (1, 5), (257, 258)])
def test_biases_norms_depthwise_and_wide_layers_take_the_steps_of_sgd(shape):
    torch.manual_seed(0)
    weights, gradients = torch.randn(shape), torch.randn(4, *shape)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    weight = nn.Parameter(weights.clone())
    sgd = torch.optim.SGD([weight], nesterov=True, **settings)
    for gradient in gradients:
        weight.grad = gradient.clone()
        sgd.step()
    found = stepped(weights, gradients, **settings)
    torch.testing.assert_close(found, weight.detach())


def test_weights_that_are_zero_come_to_life():
    found = stepped(torch.zeros(4, 6), torch.ones(100, 4, 6), lr=0.02)
    assert found.norm() > 0.01
    assert (found < 0).all()


def test_a_layer_that_dies_stops_though_its_momentum_goes_on():
    torch.manual_seed(0)
    weights, gradient = torch.randn(4, 3), torch.randn(1, 4, 3)
    after = stepped(weights, gradient, lr=0.1)
    dead = torch.cat([gradient, torch.zeros(50, 4, 3)])
    assert torch.equal(stepped(weights, dead, lr=0.1), after)


def test_complex_weights_take_the_steps_of_sgd():
    weights = torch.randn(4, 3, dtype=torch.complex64)
    found = stepped(weights, [torch.ones_like(weights)], lr=0.1, momentum=0.0)
    torch.testing.assert_close(found, weights - 0.1)


@pytest.mark.parametrize("form", CANDIDATES)
def test_a_seed_repeats_a_training_on_the_same_data(monkeypatch, form):
    """Twice from one object, whose order was changed by the first training."""
    monkeypatch.setattr(loop, "fastest_format", lambda *_: form)
    data, model, teacher = splits(), Bottom(8), Bottom(12)
    config = TrainingConfig("x", 2, optimizer="muon", teacher=teacher, hints=True)
    first, history = train(model, data, config)
    again, _ = train(model, data, config)
    assert history.epochs[-1].loss < history.epochs[0].loss
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parameters_without_a_gradient_stay():
    model = Bottom(8)
    model.first.weight.requires_grad_(False)
    before = copy.deepcopy(model.first.weight)
    trained, _ = train(model, splits(), TrainingConfig("x", 1, optimizer="muon"))
    assert torch.equal(trained.first.weight, before)


def test_a_killed_training_goes_on_where_it_was(monkeypatch, tmp_path):
    torch.manual_seed(0)
    model, teacher = Bottom(8), Bottom(12)
    config = TrainingConfig("x", 4, optimizer="muon", teacher=teacher, hints=True)
    monkeypatch.setattr(loop, "fastest_format", lambda *_: loop.PLAIN)
    expected, _ = train(model, splits(), config)
    whole, begun = Trainer.epoch, []

    def dying(self, data, number):
        if len(begun) == 2:
            raise KilledError
        begun.append(number)
        return whole(self, data, number)

    config = replace(config, state=tmp_path / "state.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "epoch", dying)
        with pytest.raises(KilledError):
            train(model, splits(), config)
    trained, history = train(model, splits(), config)
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
