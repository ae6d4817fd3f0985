"""Least squares against numpy, and the rows that go into them against torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from edgeprune.graph.stepwise import trace_batch
from edgeprune.reconstruct.layers import layers_of
from edgeprune.reconstruct.least_squares import LeastSquares
from edgeprune.reconstruct.rows import drawn, made, read


def problem(rows=200, groups=2, reads=5, makes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, groups, reads, generator=generator, dtype=torch.float64) + 1
    y = torch.randn(rows, groups, makes, generator=generator, dtype=torch.float64) - 2
    return x, y


def squares_of(x, y, start, ridge, *, shifted=True, parts=1):
    squares = LeastSquares(start, ridge, shifted=shifted)
    for some, wanted in zip(x.chunk(parts), y.chunk(parts), strict=True):
        squares.add(some, wanted)
    return squares


@pytest.mark.parametrize("shifted", [False, True])
def test_without_a_ridge_it_is_numpys_least_squares(shifted):
    x, y = problem()
    found = squares_of(x, y, torch.zeros(2, 3, 5), 0.0, shifted=shifted).fit()
    for group in range(2):
        held = x[:, group].numpy()
        held = np.c_[held, np.ones(len(held))] if shifted else held
        expected = np.linalg.lstsq(held, y[:, group].numpy(), rcond=None)[0]
        np.testing.assert_allclose(found.weight[group].T, expected[:5], rtol=1e-9)
        shift = expected[5] if shifted else np.zeros(3)
        np.testing.assert_allclose(found.shift[group], shift, rtol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_the_ridge_is_the_penalised_minimum(ridge):
    x, y = problem()
    start = torch.randn(2, 3, 5, dtype=torch.float64)
    found = squares_of(x, y, start, ridge).fit()
    weight = found.weight.clone().requires_grad_()
    shift = found.shift.clone().requires_grad_()
    left = torch.einsum("ngr,gmr->ngm", x, weight) + shift - y
    centred = x - x.mean(0)
    scale = (centred**2).mean((0, 2))
    held = ((weight - start) ** 2).sum((1, 2)) * scale
    ((left**2).sum((0, 2)) / len(x) + ridge * held).sum().backward()
    assert float(weight.grad.abs().max()) < 1e-10
    assert float(shift.grad.abs().max()) < 1e-10


def test_batches_add_up_to_the_whole():
    x, y = problem()
    whole = squares_of(x, y, torch.zeros(2, 3, 5), 1e-3).fit()
    parts = squares_of(x, y, torch.zeros(2, 3, 5), 1e-3, parts=7).fit()
    torch.testing.assert_close(whole.weight, parts.weight, rtol=1e-10, atol=1e-12)


def test_moments_are_those_of_what_the_weights_make():
    x, y = problem()
    squares = squares_of(x, y, torch.zeros(2, 3, 5), 1e-3)
    found = squares.fit()
    outputs = torch.einsum("ngr,gmr->ngm", x, found.weight)
    mean, variance = squares.moments(found.weight)
    torch.testing.assert_close(mean, outputs.mean(0))
    torch.testing.assert_close(variance, outputs.var(0, correction=0))
    torch.testing.assert_close(squares.mean, x.mean(0))
    torch.testing.assert_close(squares.variance, x.var(0, correction=0))


def test_rows_in_float32_far_from_zero_are_fitted_as_in_float64():
    x, y = problem(rows=2000)
    x, y = 1e-2 * x + 10, y + 50
    start = torch.zeros(2, 3, 5)
    exact = squares_of(x, y, start, 1e-3).fit()
    found = squares_of(x.float(), y.float(), start, 1e-3, parts=5).fit()
    torch.testing.assert_close(found.weight, exact.weight, rtol=2e-3, atol=2e-3)


def test_weights_stay_where_the_rows_say_nothing():
    x, y = torch.zeros(10, 1, 4), torch.ones(10, 1, 2)
    start = torch.randn(1, 2, 4)
    found = squares_of(x, y, start, 1e-3).fit()
    torch.testing.assert_close(found.weight, start.double())
    torch.testing.assert_close(found.shift, torch.ones(1, 2).double())


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 2),
        "padding": st.one_of(
            st.sampled_from(["same", "valid"]),
            st.integers(0, 2),
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
        ),
        "groups": st.sampled_from([1, 2, 4]),
    }
)


@settings(max_examples=40, deadline=None)
@given(CONVOLUTIONS)
def test_rows_times_filters_are_the_convolution(options):
    if options["padding"] == "same":
        options["stride"] = 1
    agrees(nn.Conv2d(4, 8, **options), torch.randn(3, 4, 9, 8))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 11)),
        (nn.Conv3d(2, 4, (1, 2, 3), padding=1), (2, 2, 4, 5, 6)),
        (nn.Linear(5, 7), (4, 5)),
        (nn.Linear(5, 7), (4, 3, 2, 5)),
    ],
)
def test_of_other_layers_too(layer, shape):
    agrees(layer, torch.randn(shape))


def agrees(layer, x):
    """Rows times weights, and the layer's own outputs at the same positions."""
    traced = trace_batch(layer, x)
    found = layers_of(traced)["weight"]
    outputs = layer(x).detach()
    at = drawn(outputs.shape, found.channels, 7, torch.Generator().manual_seed(0))
    rows = read(found, x, layer.weight, at)
    groups = rows.shape[1]
    weights = layer.weight.detach().flatten(1).unflatten(0, (groups, -1))
    expected = made(outputs, found.channels, at)
    products = torch.einsum("ngr,gmr->ngm", rows, weights).flatten(1) + layer.bias
    torch.testing.assert_close(products, expected, rtol=1e-4, atol=1e-5)


def test_positions_are_drawn_once_each():
    at = drawn(torch.Size((3, 8, 4, 5)), 1, 100, torch.Generator())
    assert len(at) == 3 * 20
    assert len(at.unique(dim=0)) == 3 * 20
    few = drawn(torch.Size((3, 4, 5, 8)), 3, 6, torch.Generator())
    assert few.shape == (18, 2)
    assert int(few[:, 1].max()) < 20
    assert functional.one_hot(few[:, 0]).sum(0).tolist() == [6, 6, 6]
