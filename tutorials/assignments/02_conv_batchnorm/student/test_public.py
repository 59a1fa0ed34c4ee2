"""Tests to work with: `pytest` in this folder. The grading tests draw other numbers and more cases."""

import answers
import numpy as np
import pytest
from numpy.testing import assert_allclose

rng = np.random.default_rng(0)
CASES = [(1, 0), (2, 0), (1, 1), (2, 1)]  # stride, padding


def slopes(function, x, dy, step=1e-5):
    """Return Σ dy y differentiated with respect to each element of x, by central differences."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        result[index] = (dy * (function(up) - function(down))).sum() / (2 * step)
    return result


def test_task_1_im2col():
    """The windows of one row of four pixels, two pixels wide."""
    x = np.arange(4.0).reshape(1, 1, 4, 1)
    assert_allclose(answers.im2col(x, 1, 2, 1, 0), [[0, 1], [1, 2], [2, 3]])
    assert_allclose(answers.im2col(x, 1, 2, 2, 0), [[0, 1], [2, 3]])


def test_task_1_im2col_pads_with_zeros():
    """One pixel in the middle of a 3 x 3 window."""
    assert_allclose(answers.im2col(np.full((1, 1, 1, 1), 7.0), 3, 3, 1, 1), [[0, 0, 0, 0, 7, 0, 0, 0, 0]])


def test_task_1_im2col_keeps_channels_together():
    """Within a row the channel is the fastest index."""
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    assert_allclose(answers.im2col(x, 2, 2, 1, 0), [np.arange(8)])


@pytest.mark.parametrize("stride, padding", CASES)
def test_task_1_conv2d(stride, padding):
    """Against the definition, one output at a time."""
    x, w = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((3, 2, 3, 2))
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    y = answers.conv2d(x, w, stride, padding)
    assert y.shape == (2, (5 + 2 * padding - 3) // stride + 1, (4 + 2 * padding - 2) // stride + 1, 2), (
        "OH and OW count whole windows alone"
    )
    for n, i, j, o in np.ndindex(y.shape):
        window = padded[n, stride * i : stride * i + 3, stride * j : stride * j + 2]
        assert_allclose(y[n, i, j, o], (window * w[..., o]).sum(), atol=1e-12)


@pytest.mark.parametrize("stride, padding", CASES)
def test_task_2_conv2d_backward(stride, padding):
    """Against numerical gradients of your own forward pass, so do task 1 first."""
    x, w = rng.standard_normal((2, 4, 5, 2)), rng.standard_normal((2, 3, 2, 3))
    dy = rng.standard_normal(answers.conv2d(x, w, stride, padding).shape)
    dx, dw = answers.conv2d_backward(dy, x, w, stride, padding)
    assert_allclose(dx, slopes(lambda x: answers.conv2d(x, w, stride, padding), x, dy), atol=1e-8)
    assert_allclose(dw, slopes(lambda w: answers.conv2d(x, w, stride, padding), w, dy), atol=1e-8)


def normalise(x, gamma, beta, training=True):
    """Normalise with fresh running averages, which are returned too."""
    mean, var = np.full(x.shape[-1], 0.5), np.full(x.shape[-1], 4.0)
    return *answers.batch_norm(x, gamma, beta, mean, var, training, momentum=0.1, eps=0.0), mean, var


def test_task_3_batch_norm_in_training():
    """Two values become -1 and 1; mean 2, unbiased variance 2."""
    y, x_hat, sigma, mean, var = normalise(np.array([[1.0], [3.0]]), np.array([10.0]), np.array([5.0]))
    assert_allclose(x_hat, [[-1], [1]])
    assert_allclose(sigma, [1])
    assert_allclose(y, [[-5], [15]])
    assert_allclose(mean, [0.9 * 0.5 + 0.1 * 2])
    assert_allclose(var, [0.9 * 4 + 0.1 * 2])


def test_task_3_batch_norm_of_images():
    """Each channel has mean 0 and variance 1 over all its pixels."""
    y, *_ = normalise(rng.standard_normal((2, 3, 4, 5)) * 3 + 1, np.ones(5), np.zeros(5))
    assert_allclose(y.mean(axis=(0, 1, 2)), np.zeros(5), atol=1e-12)
    assert_allclose(y.var(axis=(0, 1, 2)), np.ones(5))


def test_task_3_batch_norm_in_evaluation():
    """Mean 0.5 and standard deviation 2 come from the running averages, which stay."""
    y, _, _, mean, var = normalise(np.array([[1.0], [3.0]]), np.array([1.0]), np.array([0.0]), training=False)
    assert_allclose(y, [[0.25], [1.25]])
    assert_allclose([mean[0], var[0]], [0.5, 4])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (5, 2)], ids=str)
def test_task_4_batch_norm_backward(shape, training):
    """Against numerical gradients of your own forward pass, so do task 3 first."""
    x, gamma, beta, dy = (rng.standard_normal(s) for s in (shape, 2, 2, shape))
    _, x_hat, sigma, _, _ = normalise(x, gamma, beta, training)
    dx, dgamma, dbeta = answers.batch_norm_backward(dy, x_hat, sigma, gamma, training)
    assert_allclose(dx, slopes(lambda x: normalise(x, gamma, beta, training)[0], x, dy), rtol=1e-5, atol=1e-7)
    assert_allclose(dgamma, slopes(lambda gamma: normalise(x, gamma, beta, training)[0], gamma, dy), atol=1e-7)
    assert_allclose(dbeta, slopes(lambda beta: normalise(x, gamma, beta, training)[0], beta, dy), atol=1e-7)


def test_task_5_max_pool2d_backward():
    """Against numerical gradients; among random numbers there are no ties."""
    x, dy = rng.standard_normal((2, 4, 6, 2)), rng.standard_normal((2, 2, 3, 2))
    assert_allclose(answers.max_pool2d_backward(dy, x), slopes(answers.max_pool2d, x, dy), atol=1e-8)


def test_task_5_the_first_of_a_tie_receives_all():
    """All four equal, then the two on the right."""
    x = np.array([[[[1.0], [1.0], [0.0], [2.0]], [[1.0], [1.0], [0.0], [2.0]]]])
    dx = answers.max_pool2d_backward(np.array([[[[5.0], [7.0]]]]), x)
    assert_allclose(dx[0, :, :, 0], [[5, 0, 0, 7], [0, 0, 0, 0]])


def test_task_5_an_odd_row_and_column_receive_nothing():
    """A 3 x 3 image has one window."""
    dx = answers.max_pool2d_backward(np.array([[[[5.0]]]]), np.arange(9.0).reshape(1, 3, 3, 1))
    assert_allclose(dx[0, :, :, 0], [[0, 0, 0], [0, 5, 0], [0, 0, 0]])
