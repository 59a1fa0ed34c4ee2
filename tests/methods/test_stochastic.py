"""Stochastic neurons: draws, and four estimators against all states of a few neurons, summed."""

import itertools

import numpy as np
import pytest

from duonet import Tensor, check_quantizer
from duonet.methods import Baseline, StochasticBinary, find, unbiased_gradient
from duonet.methods.stochastic import sigmoid

A = np.array([-2, -0.5, 0, 0.5, 2])


def neurons(gradient="sigmoid", slope=1.0, seed=0):
    return StochasticBinary(gradient, slope, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("gradient, slope", [("identity", 1.0), ("sigmoid", 1.0), ("sigmoid", 3.0)])
def test_it_keeps_its_promises(gradient, slope, device):
    check_quantizer(neurons(gradient, slope), (200, 3))


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_values_and_gradients(slope):
    p = 1 / (1 + np.exp(-slope * A))
    if slope == 1:
        np.testing.assert_allclose(p, [0.119203, 0.377541, 0.5, 0.622459, 0.880797], atol=1e-6)
    for gradient, expected in (("identity", np.ones(5)), ("sigmoid", slope * p * (1 - p))):
        for q in (neurons(gradient, slope), neurons(gradient, slope).eval()):
            x = Tensor(A, requires_grad=True)
            q(x).backward(np.ones(5))
            np.testing.assert_allclose(x.grad, expected)
    np.testing.assert_array_equal(neurons().eval()(Tensor(A)).data, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(neurons().eval()(Tensor([-1e-30, -0.0])).data, [0, 1])


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_the_mean_of_many_draws_is_the_probability(slope):
    y = neurons(slope=slope)(Tensor(np.tile(A, (20_000, 1)))).data
    assert set(np.unique(y)) == {0, 1}
    np.testing.assert_allclose(y.mean(0), sigmoid(slope * A), atol=0.015)


def test_numbers_of_any_size_have_a_probability():
    with np.errstate(over="raise", invalid="raise"):
        x = np.array([-1e30, -700, 0, 700, 1e30])
        np.testing.assert_allclose(sigmoid(x)[[0, 2, 4]], [0, 0.5, 1])
        y = neurons()(Tensor(np.float32([-1e30, 1e30])))
    np.testing.assert_array_equal(y.data, [0, 1])


def states(a, loss):
    """All states of the neurons, with their probabilities and losses."""
    h = np.array(list(itertools.product((0.0, 1.0), repeat=len(a))))
    p = sigmoid(a)
    return h, np.prod(np.where(h == 1, p, 1 - p), axis=1), loss(h)


def true_gradient(a, loss, step=1e-6):
    def expected(a):
        _, weights, losses = states(a, loss)
        return weights @ losses

    units = np.eye(len(a)) * step
    return np.array([(expected(a + u) - expected(a - u)) / (2 * step) for u in units])


PAIR = np.array([0.3, -0.8]), lambda h: (2 * h[:, 0] - h[:, 1] - 1) ** 2
THREE = np.array([-1.0, 0.4, 2.0]), lambda h: h[:, 0] * h[:, 1] - np.sin(3 * h[:, 2]) * h[:, 0] + h[:, 1]


def best(a, loss):
    h, weights, losses = states(a, loss)
    baseline = Baseline()
    rows = np.tile(a, (len(h), 1))
    squares = weights[:, None] * (h - sigmoid(rows)) ** 2
    return (squares * losses[:, None]).sum(0) / squares.sum(0), baseline


@pytest.mark.parametrize("a, loss", [PAIR, THREE])
def test_the_unbiased_one_is_unbiased_with_any_baseline(a, loss):
    h, weights, losses = states(a, loss)
    rows = np.tile(a, (len(h), 1))
    for baseline in (0.0, 7.0, best(a, loss)[0]):
        mean = weights @ unbiased_gradient(rows, h, losses, baseline)
        np.testing.assert_allclose(mean, true_gradient(a, loss), atol=1e-8)


def test_values_of_all_four_for_two_neurons():
    a, loss = PAIR
    h, weights, losses = states(a, loss)
    rows = np.tile(a, (4, 1))
    np.testing.assert_allclose(true_gradient(a, loss), [-0.303153, 0.150214], atol=1e-6)
    b = best(a, loss)[0]
    np.testing.assert_allclose(b, [1.402342, 1.484521], atol=1e-6)
    for baseline, variance in ((0.0, [0.773345, 1.048697]), (b, [0.292602, 0.577282])):
        g = unbiased_gradient(rows, h, losses, baseline)
        np.testing.assert_allclose(weights @ g**2 - (weights @ g) ** 2, variance, atol=1e-6)
    inner = 2 * (2 * h[:, 0] - h[:, 1] - 1)
    dh = np.stack([2 * inner, -inner], axis=1)
    for gradient, mean in (("identity", [-0.644562, 0.322281]), ("sigmoid", [-0.157569, 0.068939])):
        x = Tensor(rows, requires_grad=True)
        neurons(gradient)(x).backward(dh)
        np.testing.assert_allclose(weights @ x.grad, mean, atol=1e-6)
        assert abs(weights @ x.grad - true_gradient(a, loss)).max() > 0.05, "biased"


def test_the_running_baseline_finds_the_best_number(rng):
    a, loss = PAIR
    baseline = Baseline(momentum=0.05)
    assert baseline.values == 0
    for _ in range(300):
        rows = np.tile(a, (200, 1))
        h = (rng.random(rows.shape) < sigmoid(rows)).astype(float)
        baseline.see(rows, h, loss(h))
    np.testing.assert_allclose(baseline.values, best(a, loss)[0], atol=0.05)


def test_the_slope_of_annealing_rises_to_five():
    annealed = find("stochastic-annealed").make(np.random.default_rng(0))
    assert [annealed.before_step(e) for e in (0, 25, 101)] == [{"slope": s} for s in (1, 2, 5)]
    x = Tensor(A, requires_grad=True)
    annealed(x).backward(np.ones(5))
    p = sigmoid(5 * A)
    np.testing.assert_allclose(x.grad, 5 * p * (1 - p))


@pytest.mark.parametrize("make, message", [
    (lambda: neurons("straight"), "StochasticBinary: gradient must be one of identity, sigmoid, got 'straight'"),
    (lambda: neurons(slope=0), "StochasticBinary: slope must be a number above 0, got 0"),
    (lambda: StochasticBinary(rng=1), "StochasticBinary: rng must be a numpy.random.Generator, got int"),
    (lambda: Baseline(0), "Baseline: momentum must be a number above 0 and at most 1, got 0"),
    (
        lambda: unbiased_gradient(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
        r"unbiased_gradient: expected x and h \(N, C\) and losses \(N,\), got \(2, 3\), \(2, 3\) and \(3,\)",
    ),
    (lambda: unbiased_gradient(np.ones((2, 1)), np.ones((2, 1)), [1, 2]), "unbiased_gradient: losses must be an array"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
