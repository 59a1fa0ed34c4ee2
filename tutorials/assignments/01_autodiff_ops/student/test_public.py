"""Tests to work with: `pytest` in this folder. The grading tests draw other numbers and more cases."""

import answers
import numpy as np
import pytest
from answers import Context, Tensor, apply
from numpy.testing import assert_allclose

rng = np.random.default_rng(0)
BROADCAST = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (2, 3)), ((2, 3), ())]


def check(op, *arrays, **options):
    """Compare an op's gradients with numerical ones: a good test for any op you will ever write.

    The upstream gradient dy is random, because a backward pass that ignores it is right where dy = 1.
    """
    ctx = Context()
    dy = rng.standard_normal(np.shape(op.forward(ctx, *arrays, **options)))
    gradients = op.backward(ctx, dy)
    assert isinstance(gradients, tuple) and len(gradients) == len(arrays), "a tuple, one gradient for each input"
    for i, (x, dx) in enumerate(zip(arrays, gradients)):
        assert np.shape(dx) == x.shape, f"gradient {i} has shape {np.shape(dx)}, its input {x.shape}"
        expected = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[index] += 1e-6
            down[index] -= 1e-6
            y_up = op.forward(Context(), *arrays[:i], up, *arrays[i + 1 :], **options)
            y_down = op.forward(Context(), *arrays[:i], down, *arrays[i + 1 :], **options)
            expected[index] = (dy * (y_up - y_down)).sum() / 2e-6
        assert_allclose(dx, expected, rtol=1e-6, atol=1e-8, err_msg=f"gradient {i}")


def test_task_1_unbroadcast_sums_a_missing_axis():
    """Two rows came from one."""
    assert_allclose(answers.unbroadcast(np.array([[1.0, 2.0], [10.0, 20.0]]), (2,)), [11, 22])


def test_task_1_unbroadcast_sums_an_axis_of_length_one_and_keeps_it():
    """Two columns came from one."""
    assert_allclose(answers.unbroadcast(np.array([[1.0, 2.0], [10.0, 20.0]]), (2, 1)), [[3], [30]])


@pytest.mark.parametrize("a, b", BROADCAST, ids=str)
def test_task_1_add_and_mul(a, b):
    """All gradients, with and without broadcasting."""
    check(answers.Add, rng.standard_normal(a), rng.standard_normal(b))
    check(answers.Mul, rng.standard_normal(a), rng.standard_normal(b))


def test_task_2_matmul():
    """Not square, so that a transposed gradient shows."""
    x, w = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    assert_allclose(answers.MatMul.forward(Context(), x, w), x @ w)
    check(answers.MatMul, x, w)


def test_task_3_exp_and_log():
    """Values and gradients."""
    x = rng.uniform(0.5, 2, (2, 3))
    assert_allclose(answers.Log.forward(Context(), answers.Exp.forward(Context(), x)), x)
    check(answers.Exp, x)
    check(answers.Log, x)


def test_task_3_relu():
    """Values on both sides, and 0 at the kink."""
    x = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    ctx = Context()
    assert_allclose(answers.ReLU.forward(ctx, x), [0, 0, 0, 0.5, 2])
    (dx,) = answers.ReLU.backward(ctx, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert_allclose(dx, [0, 0, 0, 4, 5])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_task_4_max(axis):
    """No ties among random numbers."""
    x = rng.standard_normal((3, 4))
    assert_allclose(answers.Max.forward(Context(), x, axis=axis), x.max(axis))
    check(answers.Max, x, axis=axis)


def test_task_4_ties_share():
    """Two of three tie for the maximum."""
    ctx = Context()
    answers.Max.forward(ctx, np.array([[1.0, 3.0, 3.0]]), axis=1)
    (dx,) = answers.Max.backward(ctx, np.array([8.0]))
    assert_allclose(dx, [[0, 4, 4]])


def test_task_5_cross_entropy():
    """Equal logits give the loss ln C."""
    labels = np.array([0, 2])
    assert_allclose(answers.SoftmaxCrossEntropy.forward(Context(), np.zeros((2, 3)), labels=labels), np.log(3))
    check(answers.SoftmaxCrossEntropy, rng.standard_normal((2, 3)), labels=labels)


def test_task_5_cross_entropy_of_large_logits():
    """The answer is 0 and 2,000, not nan."""
    logits = np.array([[1000.0, -1000.0]])
    for label, loss in ((0, 0), (1, 2000)):
        assert_allclose(answers.SoftmaxCrossEntropy.forward(Context(), logits, labels=np.array([label])), loss)


class Double:
    """An op of this file, so that task 6 can be tested before the others are done: y = 2 x."""

    @staticmethod
    def forward(ctx, x):
        """Return y."""
        return 2 * x

    @staticmethod
    def backward(ctx, dy):
        """Return (dx,)."""
        return (2 * dy,)


class Sum:
    """An op of this file: y = a + b, where both gradients are the same array."""

    @staticmethod
    def forward(ctx, a, b):
        """Return y."""
        return a + b

    @staticmethod
    def backward(ctx, dy):
        """Return (da, db)."""
        return dy, dy


def test_task_6_a_diamond():
    """With y = 2 x, z = y + y and then z + x, the slope is 5."""
    x = Tensor(np.array([1.0, 2.0]))
    y = apply(Double, x)
    answers.backward(apply(Sum, apply(Sum, y, y), x), np.array([1.0, 10.0]))
    assert_allclose(x.grad, [5, 50])


def test_task_6_a_short_way_and_a_long_one():
    """With h = 2 x the slope of h + 2 (2 h) is 10, and that of 2 (2 h) + h too."""
    for long_way_first in (True, False):
        x = Tensor(np.array([1.0]))
        h = apply(Double, x)
        far = apply(Double, apply(Double, h))
        answers.backward(apply(Sum, *((far, h) if long_way_first else (h, far))), np.array([1.0]))
        assert_allclose(x.grad, 10)


def test_task_6_many_paths_and_a_deep_graph():
    """Thirty doublings by y + y have a thousand million paths; two thousand ops are deeper than recursion goes."""
    x = Tensor(np.array([1.0]))
    y = x
    for _ in range(30):
        y = apply(Sum, y, y)
    answers.backward(y, np.array([1.0]))
    assert_allclose(x.grad, 2.0**30)
    x = Tensor(np.array([1.0]))
    y = x
    for _ in range(2000):
        y = apply(Sum, y, x)
    answers.backward(y, np.array([1.0]))
    assert_allclose(x.grad, 2001)


def test_task_6_gradients_accumulate_and_are_kept_apart():
    """A second call adds to grad, and to the right one alone."""
    a, b = Tensor(np.array([1.0])), Tensor(np.array([1.0]))
    answers.backward(apply(Sum, a, b), np.array([1.0]))
    answers.backward(apply(Double, a), np.array([1.0]))
    assert_allclose([a.grad[0], b.grad[0]], [3, 1])
