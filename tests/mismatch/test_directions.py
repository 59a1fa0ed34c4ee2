"""Directions of evolution strategies: how they lie, how much their estimates vary, and around what."""

import itertools

import numpy as np
import pytest

from duonet import functional as F
from duonet import nn
from duonet.mismatch import coordinate_gradient, evolution_gradient
from duonet.mismatch.directions import DIRECTIONS, draw
from duonet.quant import Binary, Clip


def error(kind, n, samples, runs=400):
    """The relative mean square error on a linear loss, whose gradient is known."""
    rng = np.random.default_rng(0)
    true = rng.standard_normal(n)
    found = np.stack([_linear(rng, true, kind, samples) for _ in range(runs)])
    return ((found - true) ** 2).sum(1).mean() / (true**2).sum()


def _linear(rng, true, kind, samples):
    return sum((u @ true) * u for u in draw(rng, kind, samples, len(true))) / samples


@pytest.mark.parametrize("kind, n, samples, expected", [
    ("gaussian", 8, 8, 9 / 8), ("orthogonal", 8, 8, 2 / 8), ("orthogonal-fixed", 8, 8, 0), ("hadamard", 8, 8, 0),
    ("orthogonal-fixed", 5, 15, 0), ("hadamard", 5, 8, 0), ("hadamard", 1, 3, 0),
])  # fmt: skip
def test_the_error_on_a_linear_loss(kind, n, samples, expected):
    assert error(kind, n, samples) == pytest.approx(expected, rel=0.15, abs=1e-12)


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_their_mean_is_0_and_their_covariance_1(kind, size):
    rng = np.random.default_rng(1)
    them = np.array([u for _ in range(600) for u in draw(rng, kind, 3, size)])
    assert them.shape == (1800, size)
    np.testing.assert_allclose(them.mean(0), 0, atol=0.12)
    np.testing.assert_allclose(np.cov(them.T).reshape(size, size), np.eye(size), atol=0.2)
    if kind in ("orthogonal-fixed", "hadamard"):
        np.testing.assert_allclose((them**2).sum(1), size)


@pytest.mark.parametrize("size", [4, 6])
def test_hadamards_are_signs_and_all_of_a_block_are_orthogonal_in_the_whole_matrix(size):
    whole = np.array(list(draw(np.random.default_rng(0), "hadamard", 8, size)))
    assert set(np.unique(whole)) == {-1, 1}
    block = 4 if size == 4 else 8
    np.testing.assert_array_equal(whole[:block].T @ whole[:block], block * np.eye(size))


def test_a_shorter_draw_is_the_beginning_of_a_longer_one():
    long, short = (list(draw(np.random.default_rng(2), "hadamard", k, 6)) for k in (20, 11))
    np.testing.assert_array_equal(long[:11], short)


def test_the_mean_of_hadamards_is_the_coordinate_gradient_averaged_over_the_signs_of_the_others():
    rng, sigma = np.random.default_rng(0), 0.4
    step = nn.QuantActivation(Binary(), Clip(0, 1))
    model = nn.Sequential(nn.Linear(3, 1, rng=rng, bias=False), step).astype("float64").eval()
    batch = rng.standard_normal((60, 3)), rng.integers(0, 2, (60, 1)).astype(float)
    weight, expected = model[0].weight, np.zeros(3)
    start = weight.data.copy()
    for signs in itertools.product((-1, 1), repeat=3):
        for i in range(3):
            others = np.where(np.arange(3) == i, 0, signs)
            weight.data[:] = start + sigma * others[:, None]
            expected[i] += coordinate_gradient(model, F.mse_loss, batch, sigma)["0"].values[i] / 8
    weight.data[:] = start
    found = evolution_gradient(model, F.mse_loss, batch, sigma, samples=400, directions="hadamard", rng=rng)["0"]
    assert (np.abs(found.values - expected) < 4 * found.stderr).all() and found.stderr.max() < 0.05
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(coordinate_gradient(model, F.mse_loss, batch, sigma)["0"].values, expected)
