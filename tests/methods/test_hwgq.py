"""HWGQ: known values, its three slopes, and levels that no small move makes better."""

import numpy as np
import pytest

from duonet import Tensor, check_surrogate
from duonet.methods import HWGQ, LogTail, half_wave
from duonet.methods.hwgq import STEPS
from duonet.quant import Clip, ReLU

X = np.array([-1, 0, 0.5, 0.808, 1.4, 1.7, 3])
LEVELS = (0.538, 1.076, 1.614)


def test_known_values_of_the_authors_networks():
    np.testing.assert_allclose(half_wave(LEVELS)(X), [0, 0, 0.538, 1.076, 1.614, 1.614, 1.614])
    np.testing.assert_array_equal(Clip(0, LEVELS[-1]).derivative(X), [0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(LogTail(LEVELS[-1]).derivative(X), [0, 0, 1, 1, 1, 0.920810, 0.419111], atol=1e-6)
    np.testing.assert_allclose(LogTail(2).value(np.array([2.0, 3.0])), [2, 2 + np.log(2)])


def test_the_slope_is_the_one_that_is_asked_for():
    for slope, surrogate in (("vanilla", ReLU()), ("clipped", None), ("log-tailed", None)):
        q = HWGQ(2, slope)
        surrogate = surrogate or q.surrogate
        x = Tensor(X, requires_grad=True)
        q(x).sum().backward()
        np.testing.assert_array_equal(x.grad, surrogate.derivative(X))
    assert HWGQ(2, "clipped").surrogate.high == HWGQ(2, "log-tailed").surrogate.top == HWGQ(2).staircase.levels[-1]
    check_surrogate(LogTail(1.5))


def error(levels):
    """Mean square error on the positive half of a standard Gaussian, by its density."""
    x = (np.arange(400000) + 0.5) / 400000 * 8
    return ((half_wave(levels)(x) - x) ** 2 * np.exp(-(x**2) / 2)).mean()


@pytest.mark.parametrize("bits", STEPS)
def test_no_other_step_is_better(bits):
    def of(step):
        return error([k * step for k in range(1, 2**bits)])

    assert of(STEPS[bits]) < min(of(STEPS[bits] * 0.999), of(STEPS[bits] * 1.001))


def test_free_levels_are_better_than_even_ones_of_as_many():
    levels = HWGQ(2, free=True).staircase.levels[1:]
    for i in (0, 1):
        for factor in (0.999, 1.001):
            moved = [level * (factor if i == j else 1) for j, level in enumerate(levels)]
            assert error(levels) < error(moved)
    assert HWGQ(2, free=True).bits == HWGQ(2).bits == 2 and HWGQ(1).bits == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_zero_stays_zero_and_what_is_above_does_not(dtype):
    x = np.array([-0.0, 0.0, 1e-4], dtype)
    np.testing.assert_array_equal(HWGQ(1).staircase(x) > 0, [False, False, True])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: HWGQ(5), "HWGQ: bits must be an int at least 1 and at most 4, got 5"),
        (lambda: HWGQ(2, "cliped"), "HWGQ: slope must be one of .* did you mean 'clipped'"),
        (lambda: HWGQ(3, free=True), "HWGQ: free levels are known for 2 bits alone, got 3"),
        (lambda: LogTail(0), "LogTail: top must be a number above 0, got 0"),
        (lambda: half_wave([0.5, 0.5]), "Staircase: thresholds must rise|Staircase: levels must rise"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^({message})"):
        make()
