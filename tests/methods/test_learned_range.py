"""A staircase read through a learned range: values and gradients known from formulas, and kept at any scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duonet import Tensor, check_gradients, methods
from duonet.methods import PACT, in_range
from duonet.quant import Clip, Ternary, Uniform


def run(quantizer, x, dtype="float64"):
    """Output, gradient of the input and of what is learned, for an upstream gradient of 1."""
    x = Tensor(np.array(x, dtype), requires_grad=True)
    y = quantizer.astype(dtype)(x)
    y.sum().backward()
    return y.data, x.grad, {path: p.grad for path, p in quantizer.named_parameters()}


def test_the_rule_is_the_gradient_of_the_surrogate_in_every_argument(rng):
    def function(x, low, high, scale):
        return in_range(x, low, high, scale, Ternary(), Clip(0, 1))

    x = rng.standard_normal((20, 3)) * 2
    check_gradients(function, x, np.array(-0.3), np.array(1.7), np.array(1.2), against="surrogate")


def test_a_range_of_each_channel_gets_a_gradient_of_each(rng):
    high = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    in_range(Tensor(np.array([[1.5, 1.5], [3.0, 3.0]])), 0.0, high, high, Ternary(), Clip(0, 1)).sum().backward()
    np.testing.assert_array_equal(high.grad, [2, 1])


PACT_X = [-0.5, 0, 0.1, 0.2, 0.5, 0.9, 1, 1.5]


def test_pact_has_the_known_values():
    y, dx, learned = run(PACT(2, start=1), PACT_X)
    np.testing.assert_allclose(y, [0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1])
    np.testing.assert_array_equal(dx, [0, 0, 1, 1, 1, 1, 0, 0])
    assert learned["alpha"] == pytest.approx(2)
    each = [run(PACT(2, start=1), [x])[2]["alpha"] for x in PACT_X]
    np.testing.assert_allclose(each, [0, 0, 0, 0, 0, 0, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(run(PACT(2, start=6), [0.9, 1.1, 3, 5.1, 7])[0], [0, 2, 4, 6, 6])


@given(st.integers(1, 8), st.floats(0.01, 100), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_pact_scales_with_its_range_and_has_as_many_levels_as_its_bits_say(bits, alpha, factor):
    alpha = float(np.float32(alpha))
    x = np.linspace(-0.5, 1.5, 2001) * alpha
    y = run(PACT(bits, start=alpha), x)[0]
    assert len(np.unique(y)) == 2**bits and y.max() == alpha and y.min() == 0
    if alpha * factor >= 0.001:
        np.testing.assert_array_equal(run(PACT(bits, start=alpha * factor), x * factor)[0], y * factor)


def test_a_range_below_its_bound_is_held_and_comes_back():
    q = PACT(2)
    q.alpha.data[...] = -3
    y, dx, learned = run(q, [-1.0, 0.5, 2.0])
    np.testing.assert_array_equal(y, [0, 2**-10, 2**-10])
    assert learned["alpha"] == 2, "so that descent can raise it again"


def test_the_penalty_is_decay_times_the_square():
    assert float(PACT(2, start=3, decay=0.5).penalty().data) == 4.5


def test_ternary_pact_is_binaryduos_ternary_of_another_range(rng):
    x = rng.standard_normal(1000) * 2
    alpha = 2.5
    y = in_range(Tensor(x), 0.0, alpha, alpha, Ternary(), Clip(0, 1)).data
    np.testing.assert_array_equal(y, alpha / 2 * (x >= alpha / 4) + alpha / 2 * (x >= 3 * alpha / 4))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: PACT(0), "PACT: bits must be an int at least 1 and at most 8, got 0"),
        (lambda: PACT(2.0), "PACT: bits must be an int .* got float 2.0"),
        (lambda: PACT(2, start=0), "PACT: start must be a number at least 0.00097.*, got 0"),
        (lambda: PACT(2, start=-1), "PACT: start must be a number at least .*, got -1"),
        (lambda: PACT(2, start=float("nan")), "PACT: start must be a number at least .*, got nan"),
        (lambda: PACT(2, decay=-1), "PACT: decay must be a number at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()


def test_bnn_and_wrpn_are_pairings_of_the_lesson():
    assert repr(methods.uniform(3)) == "QuantActivation(Uniform(3), Clip(low=0, high=1, closed=False))"
    assert methods.uniform(3).staircase.levels == Uniform(3).levels
