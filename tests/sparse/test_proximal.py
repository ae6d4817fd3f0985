import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from edgeprune.sparse.proximal import block_norms, soft_threshold, step_sizes

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, dampening=0.3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.002),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.002, weight_decay=0.0),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.002, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.002),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.2),
}


def test_soft_threshold_is_the_minimiser_of_what_it_claims():
    values = torch.tensor([-2.0, -0.3, 0.0, 0.1, 0.8], dtype=torch.float64)
    limits = torch.tensor([0.5, 0.5, 0.2, 0.4, 0.1], dtype=torch.float64)
    found = soft_threshold(values, limits)
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for value, limit, one in zip(values, limits, found, strict=True):
        costs = limit * grid.abs() + 0.5 * (grid - value) ** 2
        assert float(one) == pytest.approx(float(grid[costs.argmin()]), abs=2e-4)
    assert found.tolist() == pytest.approx([-1.5, 0.0, 0.0, 0.0, 0.7])


def test_with_one_step_size_the_block_map_is_the_closed_form():
    values = torch.tensor([3.0, 4.0, 0.3, 0.4], dtype=torch.float64)
    block = torch.tensor([0, 0, 1, 1])
    weights = torch.tensor([2.0, 2.0], dtype=torch.float64)
    steps = torch.full((4,), 0.5, dtype=torch.float64)
    norms = block_norms(values, steps, block, weights)
    assert norms.tolist() == pytest.approx([5.0 - 1.0, 0.0])


@pytest.mark.parametrize("seed", range(5))
def test_with_many_step_sizes_the_block_map_is_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    values, steps = rng.normal(size=6), 10 ** rng.uniform(-2, 1, size=6)
    weight = float(rng.uniform(0.1, 2))

    def cost(u):
        return weight * np.sqrt((u**2).sum()) + ((u - values) ** 2 / (2 * steps)).sum()

    starts = [values, 0.1 * values, values * (steps < 1)]
    brute = min(
        (minimize(cost, s, method="Nelder-Mead", options=PRECISE) for s in starts),
        key=lambda result: result.fun,
    )
    norm = float(
        block_norms(
            torch.from_numpy(values),
            torch.from_numpy(steps),
            torch.zeros(6, dtype=torch.long),
            torch.tensor([weight], dtype=torch.float64),
        )
    )
    found = values * norm / (norm + steps * weight) if norm else np.zeros(6)
    assert np.linalg.norm(found) == pytest.approx(norm, rel=1e-8)
    assert cost(found) <= brute.fun + 1e-9
    assert cost(found) == pytest.approx(brute.fun, rel=1e-4)


PRECISE = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 40000, "maxfev": 40000}


def test_a_block_vanishes_exactly_where_its_gradient_cannot_hold_it():
    steps = torch.tensor([0.1, 10.0], dtype=torch.float64)
    values = torch.tensor([0.05, 5.0], dtype=torch.float64)
    pull = float((values / steps).norm())
    block = torch.zeros(2, dtype=torch.long)

    def norm(weight):
        return float(block_norms(values, steps, block, torch.tensor([weight]).double()))

    assert norm(pull * 1.001) == 0.0
    assert norm(pull * 0.9) > 0.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_behind_any_optimiser_training_stops_where_the_penalised_loss_does(name):
    """The lasso 0.5 * sum c (w - t)^2 + 0.3 * |w| has the closed form S(t, 0.3 / c)."""
    target = torch.tensor([1.0, -0.5, 0.25, 0.05, 2.0], dtype=torch.float64)
    curvature = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.2], dtype=torch.float64)
    weight = torch.nn.Parameter(torch.full((5,), 0.4, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight])
    for _ in range(6000):
        optimizer.zero_grad()
        (0.5 * curvature * (weight - target) ** 2).sum().backward()
        optimizer.step()
        limit = step_sizes(optimizer, weight) * 0.3
        weight.data = soft_threshold(weight.data, limit)
    expected = soft_threshold(target, 0.3 / curvature)
    assert torch.equal(weight.data == 0, expected == 0)
    assert torch.allclose(weight.data, expected, atol=0.02), (weight.data, expected)


def test_a_parameter_that_is_not_trained_has_no_step():
    optimizer = OPTIMIZERS["sgd"]([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(KeyError):
        step_sizes(optimizer, torch.zeros(1))
