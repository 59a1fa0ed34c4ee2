"""Tests for you to run: `pytest test_public.py`, or one task by `-k task_3`. Grading uses other numbers."""

import answers
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from duonet import Tensor


def slope(value, x, h=1e-6):
    """Return the central difference of a smooth function."""
    return (value(x + h) - value(x - h)) / (2 * h)


def test_task_1_sign():
    """Note both zeros."""
    x = np.array([-1.5, -0.1, -0.0, 0.0, 2.0], "float32")
    y = answers.sign(x)
    assert y.dtype == x.dtype, "the dtype of x stays"
    assert_array_equal(y, [-1, -1, 1, 1, 1])


def test_task_1_binary():
    """Note x = ½."""
    assert_array_equal(answers.binary(np.array([[-1.0, 0.4999], [0.5, 3.0]])), [[0, 0], [1, 1]])


def test_task_1_ternary():
    """Note x = ¼ and x = ¾."""
    x = np.array([-1.0, 0.2499999, 0.25, 0.2500001, 0.5, 0.7499999, 0.75, 0.7500001, 2.0])
    assert_array_equal(answers.ternary(x), [0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1])


def test_task_2_uniform():
    """Two bits: the levels 0, ⅓, ⅔, 1 and the thresholds ⅙, ½, ⅚."""
    x = np.array([-3.0, 0.16, 0.17, 0.49, 0.5, 0.83, 0.84, 9.0])
    assert_allclose(answers.uniform(x, 2), np.array([0, 0, 1, 1, 2, 2, 3, 3]) / 3)


def test_task_2_uniform_at_its_thresholds():
    """Four bits, at each of the 15 thresholds."""
    n = 15
    x = (np.arange(1, n + 1) - 0.5) / n
    assert_allclose(answers.uniform(x, 4), np.arange(1, n + 1) / n)


def test_task_3_clip():
    """Note both ends of the window."""
    x = np.array([-0.5, 0.0, 0.25, 1.0, 1.5])
    value, derivative = answers.clip(x)
    assert_array_equal(value, [0, 0, 0.25, 1, 1])
    assert_array_equal(derivative, [0, 0, 1, 0, 0])


def test_task_3_approx_sign():
    """Known values, then value against derivative."""
    x = np.array([-1.5, -1.0, -0.5, -0.05, 0.0, 0.05, 0.25, 0.5, 0.75, 1.0, 1.5])
    value, derivative = answers.approx_sign(x)
    assert_allclose(value[[0, 2, 4, 6, 10]], [-1, -0.75, 0, 0.4375, 1])
    assert_allclose(derivative, [0, 0, 1, 1.9, 2, 1.9, 1.5, 1, 0.5, 0, 0], atol=1e-12)
    assert_allclose(derivative, slope(lambda v: answers.approx_sign(v)[0], x), atol=1e-5)


def test_task_3_swish_sign():
    """Known values for β = 5, then value against derivative, then far out."""
    x = np.array([-1.5, -1.0, -0.5, -0.05, 0.0, 0.25, 0.75])
    _, derivative = answers.swish_sign(x, 5.0)
    assert_allclose(derivative, [-0.03034, -0.19499, -0.08462, 4.84616, 5, 2.26205, -0.35418], atol=1e-5)
    assert_allclose(derivative, slope(lambda v: answers.swish_sign(v, 5.0)[0], x), atol=1e-7)
    with np.errstate(all="raise", under="ignore"):
        value, derivative = answers.swish_sign(np.array([-2000.0, 2000.0]), 5.0)
    assert_allclose(value, [-1, 1])
    assert_allclose(derivative, [0, 0], atol=1e-12)


def test_task_4_quantise():
    """A made-up pair, so that this tests nothing but Quantise."""
    x = Tensor(np.array([-1.0, 0.0, 2.0]), requires_grad=True)
    y = answers.Quantise.apply(x, staircase=lambda v: 1.0 * (v >= 0), surrogate=lambda v: (v**2, 2 * v))
    assert_array_equal(y.data, [0, 1, 1])
    y.backward(np.array([10.0, 20.0, 30.0]))
    assert_array_equal(x.grad, [-20, 0, 120])


def test_task_5_binary_weight():
    """A layer whose mean |w| is 0.9375."""
    w = Tensor(np.array([[0.5, -1.0, 0.0, 2.0], [1.0, 1.0, -1.0, 1.0]]), requires_grad=True)
    y = answers.BinaryWeight.apply(w)
    assert_array_equal(y.data, 0.9375 * np.array([[1, -1, 1, 1], [1, 1, -1, 1]]))
    dy = np.arange(8.0).reshape(2, 4)
    y.backward(dy)
    assert_array_equal(w.grad, dy)


def test_task_5_latent_step():
    """The first weight moves a little, the second is clamped."""
    w, x, dy = np.array([[0.5], [-0.9]]), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.1], [0.2]])
    assert_allclose(answers.latent_step(w, x, dy, 0.2), [[0.36], [-1.0]])


def test_task_6_central_difference():
    """With h = 1, the step from −1 to 1 gives the clipped straight-through estimator."""
    x = np.array([-1.5, -1.0, -0.5, 0.0, 0.99, 1.0, 2.0])
    difference = answers.central_difference(lambda v: np.where(v >= 0, 1.0, -1.0), x, 1.0)
    assert_array_equal(difference, [0, 1, 1, 1, 1, 0, 0])


def test_task_6_matching_step():
    """One bit: a threshold at ½, so the window (0, 1) reaches ½ to either side."""
    assert answers.matching_step(1) == 0.5, "one bit: the window of the one threshold, 1/2, is (0, 1)"


def test_task_6_mismatch_area():
    """The step at ½ against the clip: two triangles of area ⅛."""
    area = answers.mismatch_area(lambda x: 1.0 * (x >= 0.5), lambda x: (np.clip(x, 0, 1), 0 * x), -1.0, 2.0, 300)
    assert_allclose(area, 0.25)
