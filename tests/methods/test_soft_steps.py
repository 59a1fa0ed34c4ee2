"""DSQ: known values, the clip and the staircase as its limits, and gradients in all that is learned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duonet import Tensor, check_gradients, check_surrogate
from duonet.methods import DSQ, LearnedDSQ
from duonet.quant import Uniform

X = np.array([0.02, 0.1, 0.25, 0.4, 0.49, 0.6, 0.9])


def test_known_values_of_two_bits():
    soft = DSQ(2, 0.2)
    np.testing.assert_allclose(
        soft.value(X), [0.010982, 0.080587, 0.270833, 0.379623, 0.486287, 0.620377, 0.919413], atol=1e-6
    )
    slopes = [0.606385, 1.138820, 1.029949, 0.914782, 1.367316, 0.914782, 1.138820]
    np.testing.assert_allclose(soft.derivative(X), slopes, atol=1e-6)
    by_alpha = [0.030265, 0.084363, -0.086806, 0.080826, 0.017431, -0.080826, -0.084363]
    np.testing.assert_allclose(soft.by_shape(X, np.array(0.2)), by_alpha, atol=1e-6)
    dlow = [0.394760, -0.105524, -0.043295, 0.071507, -0.183618, 0.013710, -0.033295]
    for i, x in enumerate(X):
        q = LearnedDSQ(2).astype("float64")
        q.alpha.data[...] = 0.2
        q(Tensor(np.array([x]), requires_grad=True)).sum().backward()
        assert float(q.low.grad) == pytest.approx(dlow[i], abs=1e-6)
        assert float(q.high.grad) == pytest.approx(1 - dlow[i] - slopes[i], abs=1e-6)
        assert float(q.alpha.grad) == pytest.approx(by_alpha[i], abs=1e-6)


def test_known_slopes_of_one_bit():
    at_half = [float(DSQ(1, alpha).derivative(np.array(0.5))) for alpha in (0.4, 0.2, 0.1, 0.01)]
    np.testing.assert_allclose(at_half, [1.155245, 1.373265, 1.635799, 2.673386], atol=1e-6)
    assert float(DSQ(1, 0.2).derivative(np.array(1e-12))) == pytest.approx(0.494376, abs=1e-6)


@given(st.integers(1, 8), st.floats(1e-3, 0.99))
def test_steps_meet_at_the_levels_and_the_slope_integrates_to_the_range(bits, alpha):
    soft, n = DSQ(bits, alpha), 2**bits - 1
    levels = np.arange(n + 1) / n
    np.testing.assert_allclose(soft.value(levels), levels, atol=1e-12)
    points = (np.arange(n * 4000) + 0.5) / (n * 4000)
    assert soft.derivative(points).mean() == pytest.approx(1, abs=1e-4)


def test_the_limits_are_the_clip_and_slowly_the_staircase():
    x = np.linspace(0, 1, 10001)
    np.testing.assert_allclose(DSQ(2, 0.99).value(x), x, atol=1e-3)
    far = [np.abs(DSQ(2, alpha).value(x) - Uniform(2)(x)).mean() for alpha in (0.4, 0.2, 0.1, 0.01)]
    assert far == sorted(far, reverse=True)
    np.testing.assert_allclose(far, [0.0772, 0.0698, 0.0622, 0.0421], atol=2e-4)


def test_the_derivative_is_that_of_the_value():
    check_surrogate(DSQ(1, 0.3))
    x = np.random.default_rng(0).uniform(-0.5, 1.5, 50)
    step = 1e-6
    numeric = (DSQ(3, 0.2).value(x, 0.2 + step) - DSQ(3, 0.2).value(x, 0.2 - step)) / (2 * step)
    np.testing.assert_allclose(DSQ(3).by_shape(x, np.array(0.2)), numeric, atol=1e-7)


def test_every_gradient_is_that_of_the_soft_function(rng):
    q = LearnedDSQ(2).astype("float64")

    def function(x, low, high, alpha):
        q.low, q.high, q.alpha = low, high, alpha
        return q(x)

    x = rng.uniform(-1, 2, (20, 2))
    check_gradients(function, x, np.array(-0.2), np.array(1.3), np.array(0.3), against="surrogate")


def test_a_range_that_closes_and_a_sharpness_out_of_bounds_are_held():
    q = LearnedDSQ(2)
    q.high.data[...], q.alpha.data[...] = -1, 7
    y = q(Tensor([-1.0, 0.5], requires_grad=True))
    y.sum().backward()
    np.testing.assert_array_equal(y.data, np.float32([0, 2**-10]))
    assert all(np.isfinite(p.grad) for p in q.parameters()) and float(q.high.grad) == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DSQ(0), "DSQ: bits must be"),
        (lambda: DSQ(2, 0), "DSQ: alpha must be a number at least 0.001 and at most 0.99, got 0"),
        (lambda: LearnedDSQ(9), "LearnedDSQ: bits must be"),
        (lambda: LearnedDSQ(2, bottom=1, top=1), "LearnedDSQ: top must be a number at least 1.0009.*, got 1"),
        (lambda: LearnedDSQ(2, start=1), "LearnedDSQ: start must be"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
