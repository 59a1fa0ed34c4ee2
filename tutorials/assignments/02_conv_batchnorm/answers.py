"""Assignment 2: convolution as a matrix product, batch normalisation, and the gradients of both.

Images are channels-last, x (N, H, W, C); kernels are w (KH, KW, C, OC). `dy` is the gradient of the loss with
respect to y. No function may modify an array that it was given, but for the running averages of task 3.
"""

import numpy as np


def im2col(x, kh, kw, stride, padding):
    """Task 1 (20 points). Lay every window of the images out as one row.

    Pad the images with `padding` zeros on all four sides. The window of output position (i, j) begins at row
    stride · i and column stride · j of the padded image, and is KH × KW pixels large. Only whole windows count:
    OH = (H + 2 padding − KH) // stride + 1, OW alike.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C)
    kh, kw, stride, padding : int

    Returns
    -------
    numpy.ndarray
        (N OH OW, KH KW C): rows in the order n, i, j, and within a row p, q, c, the last index fastest.
        Two Python loops, over p and q, are enough.
    """
    ### BEGIN SOLUTION
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    n, height, width, c = x.shape
    oh, ow = (height - kh) // stride + 1, (width - kw) // stride + 1
    windows = np.empty((n, oh, ow, kh, kw, c), x.dtype)
    for p in range(kh):
        for q in range(kw):
            windows[:, :, :, p, q] = x[:, p : p + stride * oh : stride, q : q + stride * ow : stride]
    return windows.reshape(n * oh * ow, kh * kw * c)
    ### END SOLUTION


def conv2d(x, w, stride=1, padding=0):
    """Task 1, continued. y[n, i, j, o] = Σ over (p, q, c) of xp[n, s i + p, s j + q, c] w[p, q, c, o].

    xp is the padded x, s the stride. The kernel is not flipped, as everywhere in deep learning. Use `im2col` and
    one matrix product.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C)
    w : numpy.ndarray
        (KH, KW, C, OC)
    stride, padding : int

    Returns
    -------
    numpy.ndarray
        (N, OH, OW, OC)
    """
    ### BEGIN SOLUTION
    kh, kw, c, oc = w.shape
    y = im2col(x, kh, kw, stride, padding) @ w.reshape(kh * kw * c, oc)
    oh = (x.shape[1] + 2 * padding - kh) // stride + 1
    return y.reshape(len(x), oh, -1, oc)
    ### END SOLUTION


def conv2d_backward(dy, x, w, stride=1, padding=0):
    """Task 2 (22 points). The gradients of the loss with respect to the image and the kernel.

    With cols = im2col(x) the forward pass is a matrix product, so dw and the gradient of cols are matrix products
    too: assignment 1 has them. From the gradient of cols to dx: ask in which rows of cols a pixel appears, what
    the chain rule makes of an input that is used more than once, and what became of the padding.

    Parameters
    ----------
    dy : numpy.ndarray
        (N, OH, OW, OC)
    x, w, stride, padding
        As in the forward pass.

    Returns
    -------
    dx : numpy.ndarray
        (N, H, W, C)
    dw : numpy.ndarray
        (KH, KW, C, OC)
    """
    ### BEGIN SOLUTION
    n, h, width, c = x.shape
    kh, kw, _, oc = w.shape
    _, oh, ow, _ = dy.shape
    rows = dy.reshape(-1, oc)
    dw = im2col(x, kh, kw, stride, padding).T @ rows
    dcols = (rows @ w.reshape(-1, oc).T).reshape(n, oh, ow, kh, kw, c)
    dx = np.zeros((n, h + 2 * padding, width + 2 * padding, c), dy.dtype)
    for p in range(kh):
        for q in range(kw):
            dx[:, p : p + stride * oh : stride, q : q + stride * ow : stride] += dcols[:, :, :, p, q]
    return dx[:, padding : padding + h, padding : padding + width], dw.reshape(w.shape)
    ### END SOLUTION


def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    """Task 3 (18 points). y = γ x̂ + β with x̂ = (x − mean) / σ and σ = √(var + eps), for each channel by itself.

    In training, mean and var are those of the batch, over all axes but the last: M = N H W values a channel.
    The variance is the biased one, (1/M) Σ (x − mean)². The running averages then move towards it, in place:
    running ← (1 − momentum) running + momentum · batch's, where the variance that goes in is the unbiased one,
    var M / (M − 1).

    In evaluation, mean and var are the running averages, which stay as they are.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C) or (N, C)
    gamma, beta : numpy.ndarray
        (C,)
    running_mean, running_var : numpy.ndarray
        (C,)
    training : bool
    momentum, eps : float

    Returns
    -------
    y, x_hat : numpy.ndarray
        Shape of x.
    sigma : numpy.ndarray
        (C,)
    """
    ### BEGIN SOLUTION
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        m = x.size // x.shape[-1]
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * m / (m - 1) - running_var)
    else:
        mean, var = running_mean, running_var
    sigma = np.sqrt(var + eps)
    x_hat = (x - mean) / sigma
    return gamma * x_hat + beta, x_hat, sigma
    ### END SOLUTION


def batch_norm_backward(dy, x_hat, sigma, gamma, training):
    """Task 4 (22 points). The gradients of batch normalisation.

    γ and β are shared by all M values of a channel. In evaluation mean and σ are constants. In training they
    depend on every x of the channel, so x acts on y in three ways; derive dx on paper, as a function of dy, x̂, σ
    and γ alone.

    Two properties test your formula: in training Σ dx = 0 and Σ dx x̂ ≈ 0 for each channel, because shifting or
    scaling a whole channel does not change y (but for eps).

    Parameters
    ----------
    dy : numpy.ndarray
        Shape of x.
    x_hat, sigma
        As `batch_norm` returned them.
    gamma : numpy.ndarray
        (C,)
    training : bool

    Returns
    -------
    dx : numpy.ndarray
        Shape of x.
    dgamma, dbeta : numpy.ndarray
        (C,)
    """
    ### BEGIN SOLUTION
    axes = tuple(range(dy.ndim - 1))
    dbeta, dgamma = dy.sum(axes), (dy * x_hat).sum(axes)
    if not training:
        return dy * gamma / sigma, dgamma, dbeta
    m = dy.size // dy.shape[-1]
    return gamma / sigma * (dy - dbeta / m - x_hat * dgamma / m), dgamma, dbeta
    ### END SOLUTION


def max_pool2d(x):
    """Keep the largest value of each 2 × 2 window, windows 2 apart. There is nothing to write here.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C)

    Returns
    -------
    numpy.ndarray
        (N, H // 2, W // 2, C): a last odd row or column is in no window.
    """
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def max_pool2d_backward(dy, x):
    """Task 5 (18 points). The gradient of `max_pool2d` with respect to x.

    In each window the largest x receives dy, and the other three 0. Where several are largest, the **first** of
    them receives all of dy: top left, top right, bottom left, bottom right. (Behind a quantised activation nearly
    every window is a tie, so it matters.) Pixels that are in no window receive 0.

    Parameters
    ----------
    dy : numpy.ndarray
        (N, H // 2, W // 2, C)
    x : numpy.ndarray
        (N, H, W, C)

    Returns
    -------
    numpy.ndarray
        (N, H, W, C). Write no Python loop over images or pixels; one over the four places in a window is fine.
    """
    ### BEGIN SOLUTION
    y = max_pool2d(x)
    _, oh, ow, _ = y.shape
    dx = np.zeros(x.shape, dy.dtype)
    waiting = np.ones(y.shape, bool)  # windows whose maximum has not been met
    for p in range(2):
        for q in range(2):
            place = (slice(None), slice(p, 2 * oh, 2), slice(q, 2 * ow, 2))
            hit = waiting & (x[place] == y)
            dx[place] = np.where(hit, dy, 0)
            waiting &= ~hit
    return dx
    ### END SOLUTION
