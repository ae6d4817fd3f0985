"""Steps along the directions of gradients, against a slow version and SGD's."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.finetune import loop, soap
from edgeprune.finetune.formats import CANDIDATES
from edgeprune.finetune.learner import Learner
from edgeprune.finetune.loop import train
from edgeprune.finetune.recipe import Recipe
from edgeprune.finetune.soap import RELATIVE_STEP, Soap, turned
from tests.finetune.test_loop import splits
from tests.finetune.test_state import KilledError
from tests.nets import Bottom


def directions(gradients, momentum=0.0):
    """What each gradient is made to, one after another."""
    state = {}
    return [turned(state, gradient, momentum) for gradient in gradients], state


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4), (1, 5)])
def test_the_same_gradient_again_and_again_becomes_the_nearest_orthogonal_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = directions([matrix] * 25)[0][-1]
    expected = left @ right
    torch.testing.assert_close(
        found / found.norm(), expected / expected.norm(), atol=0.01, rtol=0
    )


def test_strong_directions_do_not_drown_weak_ones():
    first, second = torch.eye(8)[:2]
    matrix = 100 * torch.outer(first, first) + 3 * torch.outer(second, second)
    found = directions([matrix] * 5)[0][-1]
    assert found[1, 1] > 0.5 * found[0, 0]


def test_what_changes_its_sign_moves_less_than_what_stays():
    torch.manual_seed(0)
    gradients = [torch.diag(torch.tensor([1.0, (-1.0) ** at, 0.0])) for at in range(60)]
    found = directions(gradients, momentum=0.9)[0][-1].abs().diagonal()
    assert found[1] < 0.3 * found[0]
    assert found[2] < 1e-3 * found[0]


def test_gradients_of_nearly_no_rank_blow_up_no_rounding_error():
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(12, 40), full_matrices=False)
    matrix = left[:, :2] @ right[:2]
    found = directions([matrix])[0][0]
    rest = found - left[:, :2] @ (left[:, :2].T @ found @ right[:2].T) @ right[:2]
    assert rest.norm() < 0.05 * found.norm()


def test_directions_are_kept_orthogonal_and_follow_the_gradients():
    torch.manual_seed(0)
    scales = torch.linspace(3, 0.3, 6)[:, None]
    turn = torch.linalg.qr(torch.randn(6, 6))[0]
    gradients = [turn @ (scales * torch.randn(6, 20)) for _ in range(300)]
    state = directions(gradients)[1]
    basis = state["rows basis"]
    torch.testing.assert_close(basis.T @ basis, torch.eye(6), atol=1e-5, rtol=0)
    strongest, weakest = (basis.T @ turn).abs()[0, 0], (basis.T @ turn).abs()[-1, -1]
    assert min(strongest, weakest) > 0.95


def test_a_long_side_is_not_turned(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(soap, "LONGEST", 8)
    found, state = directions(torch.randn(3, 6, 20))
    assert {name for name in state if "basis" in name} == {"rows basis"}
    assert all(step.shape == (6, 20) for step in found)


class Slow:
    """SOAP as it is published, with the eigenvectors of every step."""

    def __init__(self, weights):
        self.weights = weights.astype(float)
        self.count = 0

    def step(self, gradient, rate, momentum, decay):
        matrix = gradient.reshape(len(gradient), -1).astype(float)
        pair = (matrix @ matrix.T, matrix.T @ matrix)
        if not self.count:
            self.pair, self.mean = pair, np.zeros_like(matrix)
            self.square = np.zeros_like(matrix)
            self.bases = [np.linalg.eigh(item)[1][:, ::-1] for item in pair]
        self.count += 1
        left, right = self.bases
        self.mean = momentum * self.mean + (1 - momentum) * matrix
        ahead = momentum * self.mean + (1 - momentum) * matrix
        inside = left.T @ matrix @ right
        self.square = soap.MEMORY * self.square + (1 - soap.MEMORY) * inside**2
        usual = np.sqrt(self.square.mean())
        inside = left.T @ ahead @ right
        inside /= np.sqrt(self.square) + soap.DAMPING * usual
        turned = (left @ inside @ right.T).reshape(gradient.shape)
        length = np.linalg.norm(self.weights)
        self.weights *= 1 - rate * decay
        share = rate * RELATIVE_STEP * length / np.linalg.norm(turned)
        self.weights -= share * turned
        self.pair = [
            soap.MEMORY * old + (1 - soap.MEMORY) * new
            for old, new in zip(self.pair, pair, strict=True)
        ]


def test_steps_are_those_of_a_slow_version():
    """Until directions are found anew; a square layer has no arbitrary ones."""
    torch.manual_seed(0)
    weights = torch.randn(12, 3, 2, 2, dtype=torch.float64)
    gradients = torch.randn(soap.REFRESH - 1, 12, 3, 2, 2, dtype=torch.float64)
    found = stepped(weights, gradients, lr=0.1, momentum=0.9, weight_decay=0.01)
    slow = Slow(weights.numpy())
    for gradient in gradients.numpy():
        slow.step(gradient, 0.1, 0.9, 0.01)
    np.testing.assert_allclose(found.numpy(), slow.weights, rtol=1e-9)


def stepped(weights, gradients, **settings):
    weight = nn.Parameter(torch.as_tensor(weights).clone())
    optimizer = Soap([weight], **settings)
    for gradient in gradients:
        weight.grad = torch.as_tensor(gradient).clone()
        optimizer.step()
    return weight.detach()


def test_a_step_is_a_share_of_the_weights_whatever_the_gradients_size():
    torch.manual_seed(0)
    weights, gradient = torch.randn(2, 16, 4, 2, 2, dtype=torch.float64)
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
    monkeypatch.setattr(loop, "settled_format", lambda *_: form)
    data, model, teacher = splits(), Bottom(8), Bottom(12)
    recipe = Recipe("x", 2, optimizer="soap", teacher=teacher, hints=True)
    first, history = train(model, data, recipe)
    again, _ = train(model, data, recipe)
    assert history.epochs[-1].loss < history.epochs[0].loss
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parameters_without_a_gradient_stay():
    model = Bottom(8)
    model.first.weight.requires_grad_(False)
    before = copy.deepcopy(model.first.weight)
    trained, _ = train(model, splits(), Recipe("x", 1, optimizer="soap"))
    assert torch.equal(trained.first.weight, before)


def test_a_killed_training_goes_on_where_it_was(monkeypatch, tmp_path):
    torch.manual_seed(0)
    model, teacher = Bottom(8), Bottom(12)
    recipe = Recipe("x", 4, optimizer="soap", teacher=teacher, hints=True)
    monkeypatch.setattr(loop, "settled_format", lambda *_: loop.PLAIN)
    expected, _ = train(model, splits(), recipe)
    whole, begun = Learner.epoch, []

    def dying(self, data, number):
        if len(begun) == 2:
            raise KilledError
        begun.append(number)
        return whole(self, data, number)

    recipe = replace(recipe, state=tmp_path / "state.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(Learner, "epoch", dying)
        with pytest.raises(KilledError):
            train(model, splits(), recipe)
    trained, history = train(model, splits(), recipe)
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
