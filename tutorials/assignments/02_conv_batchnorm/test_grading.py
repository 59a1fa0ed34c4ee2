"""The instructor's tests of assignment 2. Every case is drawn from `rng`; duonet's own ops are the reference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from duonet import Tensor
from duonet.functional import batch_norm, conv2d, max_pool2d
from duonet.functional.conv import im2col as windows

MAY_IMPORT = {"numpy"}
PLAIN = (5, 6, 3, 2, 1, 0)  # H, W, KH, KW, stride, padding
STRIDED = [(7, 8, 3, 2, 2, 0), (6, 8, 1, 3, 3, 0)]  # with rows and columns that fill no window
PADDED = [(4, 5, 3, 3, 1, 1), (6, 7, 3, 3, 2, 1), (3, 4, 2, 3, 1, 2)]


def image_and_kernel(rng, case):
    """Draw x (N, H, W, C) and w (KH, KW, C, OC)."""
    h, w, kh, kw, _, _ = case
    n, c, oc = rng.integers(2, 5, 3)
    return rng.standard_normal((n, h, w, c)), rng.standard_normal((kh, kw, c, oc))


def unmodified(function, *arrays):
    """Call a function on arrays, and see that it left them alone."""
    copies = [array.copy() for array in arrays]
    result = function(*arrays)
    for array, copy in zip(arrays, copies):
        assert_array_equal(array, copy, err_msg="an array that was given was modified")
    return result


def agree(actual, expected):
    """Compare two arrays, in shape too: nothing may broadcast."""
    assert np.shape(actual) == expected.shape, f"shape {np.shape(actual)}, expected {expected.shape}"
    assert_allclose(actual, expected, rtol=1e-7, atol=1e-10)


def check_im2col(answers, rng, case):
    """Compare every window with a slice of the padded image."""
    x, w = image_and_kernel(rng, case)
    h, width, kh, kw, stride, padding = case
    padded = np.zeros((len(x), h + 2 * padding, width + 2 * padding, x.shape[3]))
    padded[:, padding : padding + h, padding : padding + width] = x
    rows = [
        image[i : i + kh, j : j + kw].ravel()
        for image in padded
        for i in range(0, padded.shape[1] - kh + 1, stride)
        for j in range(0, padded.shape[2] - kw + 1, stride)
    ]
    agree(unmodified(lambda x: answers.im2col(x, kh, kw, stride, padding), x), np.array(rows))


def reference(x, w, stride, padding, rng):
    """Return y, a random dy, dx and dw by duonet."""
    x, w = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    y = conv2d(x, w, stride=stride, padding=padding)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    return y.data, dy, x.grad, w.grad


def check_conv2d(answers, rng, case):
    """Compare the forward pass."""
    x, w = image_and_kernel(rng, case)
    stride, padding = case[4:]
    agree(
        unmodified(lambda x, w: answers.conv2d(x, w, stride, padding), x, w),
        reference(x, w, stride, padding, rng)[0],
    )


def im2col(x, kh, kw, stride=1, padding=0):
    """Return the windows of duonet's."""
    return windows(x, kh, kw, stride, padding, padding)


GIVEN = {"im2col": im2col, "max_pool2d": lambda x: max_pool2d(Tensor(x)).data}


def check_conv2d_backward(answers, rng, case, which):
    """Compare dx (0) or dw (1)."""
    x, w = image_and_kernel(rng, case)
    stride, padding = case[4:]
    _, dy, *gradients = reference(x, w, stride, padding, rng)
    found = unmodified(lambda dy, x, w: answers.conv2d_backward(dy, x, w, stride, padding), dy, x, w)
    agree(found[which], gradients[which])


@pytest.mark.task(1, points=6)
@pytest.mark.parametrize("case", [PLAIN, *STRIDED], ids=str)
def test_im2col(answers, rng, case):
    """im2col: rows go by n, i, j; in a row p, q, c; window (i, j) begins at stride i, stride j."""
    check_im2col(answers, rng, case)


@pytest.mark.task(1, points=4)
@pytest.mark.parametrize("case", PADDED, ids=str)
def test_im2col_with_padding(answers, rng, case):
    """im2col: zeros on all four sides of both image axes, and on no other axis."""
    check_im2col(answers, rng, case)


@pytest.mark.task(1, points=5, given=["im2col"])
def test_conv2d(answers, rng):
    """conv2d: the product of im2col(x) and w as a (KH KW C, OC) matrix, reshaped to (N, OH, OW, OC)."""
    check_conv2d(answers, rng, PLAIN)


@pytest.mark.task(1, points=5, given=["im2col"])
@pytest.mark.parametrize("case", STRIDED + PADDED, ids=str)
def test_conv2d_with_stride_and_padding(answers, rng, case):
    """conv2d: OH is (H + 2 padding - KH) // stride + 1, and OW need not be the same."""
    check_conv2d(answers, rng, case)


@pytest.mark.task(2, points=5, given=["im2col"])
def test_conv2d_dw(answers, rng):
    """conv2d_backward: dw is colsᵀ dy, which sums over all images and positions."""
    check_conv2d_backward(answers, rng, PLAIN, 1)


@pytest.mark.task(2, points=4, given=["im2col"])
@pytest.mark.parametrize("case", STRIDED + PADDED, ids=str)
def test_conv2d_dw_with_stride_and_padding(answers, rng, case):
    """conv2d_backward: for dw the windows are cut with the forward pass's stride and padding."""
    check_conv2d_backward(answers, rng, case, 1)


@pytest.mark.task(2, points=6, given=["im2col"])
def test_conv2d_dx(answers, rng):
    """conv2d_backward: a pixel's gradient is the sum over all windows it lies in, so add, do not assign."""
    check_conv2d_backward(answers, rng, PLAIN, 0)


@pytest.mark.task(2, points=3, given=["im2col"])
@pytest.mark.parametrize("case", STRIDED, ids=str)
def test_conv2d_dx_with_stride(answers, rng, case):
    """conv2d_backward: with a stride, dx still has the shape of x; pixels in no window get 0."""
    check_conv2d_backward(answers, rng, case, 0)


@pytest.mark.task(2, points=4, given=["im2col"])
@pytest.mark.parametrize("case", PADDED, ids=str)
def test_conv2d_dx_with_padding(answers, rng, case):
    """conv2d_backward: collect dx in a padded image, then cut `padding` off on each side, not just at the end."""
    check_conv2d_backward(answers, rng, case, 0)


class Batch:
    """A random batch, its parameters and running averages, and what duonet makes of them."""

    def __init__(self, rng, shape, training, eps=1e-5):
        c = shape[-1]
        self.x = rng.standard_normal(shape) * rng.uniform(0.5, 3, c) + rng.uniform(-2, 2, c)
        self.gamma, self.beta, self.mean = rng.standard_normal((3, c))
        self.var = rng.uniform(0.5, 2, c)
        self.training, self.momentum, self.eps = training, rng.uniform(0.05, 0.3), eps
        self.tensors = [Tensor(array, requires_grad=True) for array in (self.x, self.gamma, self.beta)]
        self.running = self.mean.copy(), self.var.copy()
        self.y = batch_norm(*self.tensors, *self.running, training, self.momentum, eps)

    def forward(self, answers):
        """Run the submission on copies of the running averages; return y, x_hat, sigma and both averages."""
        mean, var = self.mean.copy(), self.var.copy()

        def run(x, gamma, beta):
            return answers.batch_norm(x, gamma, beta, mean, var, self.training, self.momentum, self.eps)

        return *unmodified(run, self.x, self.gamma, self.beta), mean, var

    def backward(self, answers, rng):
        """Return for dx, dgamma and dbeta what the submission has and what it should be."""
        axes = tuple(range(self.x.ndim - 1))
        mean, var = (self.x.mean(axes), self.x.var(axes)) if self.training else (self.mean, self.var)
        sigma = np.sqrt(var + self.eps)
        dy = rng.standard_normal(self.x.shape)
        self.y.backward(dy)

        def run(dy, x_hat, sigma, gamma):
            return answers.batch_norm_backward(dy, x_hat, sigma, gamma, self.training)

        found = unmodified(run, dy, (self.x - mean) / sigma, sigma, self.gamma)
        return [(gradient, tensor.grad) for gradient, tensor in zip(found, self.tensors)]


STAYED = (
    "running_{0} is what it was: change the array in place, as by running_{0} += ...; "
    "running_{0} = ... makes another array, which nobody else sees"
)
both_shapes = pytest.mark.parametrize("shape", [(3, 4, 2, 5), (7, 3)], ids=str)


@pytest.mark.task(3, points=6, changes=True)
@both_shapes
def test_batch_norm_in_training(answers, rng, shape):
    """batch_norm: in training mean and biased variance are the batch's, over all axes but the last."""
    batch = Batch(rng, shape, training=True)
    agree(batch.forward(answers)[0], batch.y.data)


@pytest.mark.task(3, points=2, changes=True)
def test_batch_norm_returns_x_hat_and_sigma(answers, rng):
    """batch_norm: x_hat is what gamma multiplies, and sigma is the root of var + eps, not the root plus eps."""
    batch = Batch(rng, (5, 2), training=True, eps=rng.uniform(0.5, 2))
    y, x_hat, sigma, _, _ = batch.forward(answers)
    agree(sigma, np.sqrt(batch.x.var(0) + batch.eps))
    agree(x_hat, (batch.x - batch.x.mean(0)) / sigma)
    agree(y, batch.y.data)


@pytest.mark.task(3, points=3, changes=True)
@both_shapes
def test_batch_norm_moves_the_running_mean(answers, rng, shape):
    """batch_norm: in training the running mean becomes (1 - momentum) of itself plus momentum of the batch's."""
    batch = Batch(rng, shape, training=True)
    moved = batch.forward(answers)[3]
    assert (moved != batch.mean).any(), STAYED.format("mean")
    agree(moved, batch.running[0])


@pytest.mark.task(3, points=3, changes=True)
@both_shapes
def test_batch_norm_moves_the_running_variance(answers, rng, shape):
    """batch_norm: into the running variance goes the unbiased one, var M / (M - 1)."""
    batch = Batch(rng, shape, training=True)
    moved = batch.forward(answers)[4]
    assert (moved != batch.var).any(), STAYED.format("var")
    agree(moved, batch.running[1])


@pytest.mark.task(3, points=4)
@both_shapes
def test_batch_norm_in_evaluation(answers, rng, shape):
    """batch_norm: in evaluation the running averages normalise, and do not move."""
    batch = Batch(rng, shape, training=False)
    y, _, _, mean, var = batch.forward(answers)
    agree(y, batch.y.data)
    agree(mean, batch.mean)
    agree(var, batch.var)


@pytest.mark.task(4, points=6)
@both_shapes
def test_batch_norm_dgamma_and_dbeta(answers, rng, shape):
    """batch_norm_backward: dbeta is the sum of dy, dgamma that of dy x_hat, over all axes but the last."""
    _, dgamma, dbeta = Batch(rng, shape, training=True).backward(answers, rng)
    agree(*dgamma)
    agree(*dbeta)


@pytest.mark.task(4, points=11)
@both_shapes
def test_batch_norm_dx_in_training(answers, rng, shape):
    """batch_norm_backward: dx has three terms in training; M counts all values of a channel, N H W."""
    dx, _, _ = Batch(rng, shape, training=True).backward(answers, rng)
    agree(*dx)


@pytest.mark.task(4, points=5)
@both_shapes
def test_batch_norm_backward_in_evaluation(answers, rng, shape):
    """batch_norm_backward: in evaluation mean and sigma are constants, so dx is dy gamma / sigma alone."""
    for found, expected in Batch(rng, shape, training=False).backward(answers, rng):
        agree(found, expected)


def check_max_pool2d_backward(answers, rng, x):
    """Compare with duonet's gradient."""
    tensor = Tensor(x, requires_grad=True)
    y = max_pool2d(tensor)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    agree(unmodified(answers.max_pool2d_backward, dy, x), tensor.grad)


@pytest.mark.task(5, points=7, given=["max_pool2d"])
def test_max_pool2d_backward(answers, rng):
    """max_pool2d_backward: in each window dy goes to the place of the maximum, channel by channel."""
    check_max_pool2d_backward(answers, rng, rng.standard_normal((3, 4, 6, 2)))


@pytest.mark.task(5, points=7, given=["max_pool2d"])
def test_max_pool2d_backward_with_ties(answers, rng):
    """max_pool2d_backward: of a tie the first gets all: top left, top right, bottom left, bottom right."""
    check_max_pool2d_backward(answers, rng, rng.integers(0, 2, (4, 6, 8, 2)).astype(float))


@pytest.mark.task(5, points=4, given=["max_pool2d"])
@pytest.mark.parametrize("size", [(5, 4), (4, 7), (3, 5)], ids=str)
def test_max_pool2d_backward_with_odd_sizes(answers, rng, size):
    """max_pool2d_backward: dx has the shape of x, with 0 in a last odd row or column."""
    check_max_pool2d_backward(answers, rng, rng.standard_normal((2, *size, 3)))
