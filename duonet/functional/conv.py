"""Convolution as one matrix product.

`im2col` lays every window of the image out as a row; the convolution is then `cols @ w`, its weight gradient
`colsᵀ @ dy`, and its input gradient either a convolution of dy with the flipped kernel or `col2im(dy @ wᵀ)`.
The batch goes through in chunks small enough for the cache, spread over the cores (`duonet.parallel`).
"""

import numpy as np

from duonet import backend, parallel
from duonet.functional.channels import sum_rows
from duonet.tensor import Function


class Conv2d(Function):
    """y[n, i, j] = Σ over (p, q, c) of x[n, s i + p, s j + q, c] w[p, q, c].   For dx, dw see below."""

    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        _check(x, w, bias, stride, padding)
        ctx.x, ctx.w, ctx.stride, ctx.padding = x, w, stride, padding
        y = _correlate(x, w, stride, padding, padding)
        if bias is not None:
            y += bias
        return y

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        dx = _input_gradient(dy, ctx.w, ctx.x.shape, ctx.stride, ctx.padding) if wants_x else None
        dw = _weight_gradient(ctx.x, dy, ctx.w.shape, ctx.stride, ctx.padding) if wants_w else None
        db = sum_rows(dy.reshape(-1, dy.shape[-1])) if wants_bias else None
        return dx, dw, db


def conv2d(x, w, bias=None, stride=1, padding=0):
    """Convolve (cross-correlate, as everywhere in deep learning) images with a bank of kernels.

    y[n, i, j, o] = bias[o] + Σ over (p, q, c) of x[n, s i + p − pad, s j + q − pad, c] w[p, q, c, o], and with
    `cols` the (N OH OW, KH KW C) matrix of windows, y = cols @ w:  dw = colsᵀ @ dy,  dcols = dy @ wᵀ, where each
    element of x receives the sum over the windows it was part of;  dbias = Σ dy.

    Parameters
    ----------
    x : Tensor
        (N, H, W, C)
    w : Tensor
        (KH, KW, C, OC)
    bias : Tensor, optional
        (OC,)
    stride : int
        Pixels between windows.
    padding : int
        Zeros added on each side of both image axes.

    Returns
    -------
    Tensor
        (N, OH, OW, OC), with OH = (H + 2 padding − KH) // stride + 1, OW alike.

    Raises
    ------
    ValueError
        If shapes do not fit, or the kernel is larger than the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Tensor
    >>> x = Tensor(np.arange(9, dtype="float32").reshape(1, 3, 3, 1))
    >>> conv2d(x, Tensor(np.ones((2, 2, 1, 1), "float32"))).data[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    return Conv2d.apply(x, w, bias, stride=stride, padding=padding)


def conv2d_reference(x, w, bias=None, stride=1, padding=0):
    """Compute `conv2d` with six plain loops: the definition, on raw arrays, forwards only.

    Parameters
    ----------
    x, w, bias : numpy.ndarray
        Shapes as for `conv2d`.
    stride, padding : int

    Returns
    -------
    numpy.ndarray
        (N, OH, OW, OC)

    Raises
    ------
    ValueError
        As `conv2d`.

    Examples
    --------
    >>> conv2d_reference(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))).item()
    4.0
    """
    _check(x, w, bias, stride, padding)
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kh, kw, channels, out_channels = w.shape
    oh, ow = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), oh, ow, out_channels), x.dtype)
    for i in range(oh):
        for j in range(ow):
            for p in range(kh):
                for q in range(kw):
                    for c in range(channels):
                        for o in range(out_channels):
                            y[:, i, j, o] += x[:, stride * i + p, stride * j + q, c] * w[p, q, c, o]
    return y if bias is None else y + bias


def im2col(x, kh, kw, stride, pad_h, pad_w):
    """Lay the windows of an image out as rows.

    Parameters
    ----------
    x : array
        (N, H, W, C)
    kh, kw, stride, pad_h, pad_w : int
        Window size, pixels between windows, zeros on each side.

    Returns
    -------
    array
        (N OH OW, KH KW C)

    Examples
    --------
    >>> im2col(np.arange(4.0).reshape(1, 1, 4, 1), 1, 2, 1, 0, 0)
    array([[0., 1.],
           [1., 2.],
           [2., 3.]])
    """
    xp = backend.get_xp(x)
    n, h, w, c = x.shape
    if pad_h or pad_w:
        padded = xp.zeros((n, h + 2 * pad_h, w + 2 * pad_w, c), x.dtype)
        padded[:, pad_h : pad_h + h, pad_w : pad_w + w] = x
        x = padded
    x = xp.ascontiguousarray(x)
    oh, ow = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    # A window's row of KW pixels is contiguous, so it is copied as one run of KW C values.
    image, row, pixel, value = x.strides
    windows = xp.lib.stride_tricks.as_strided(
        x, (n, oh, ow, kh, kw * c), (image, stride * row, stride * pixel, row, value)
    )
    return windows.reshape(n * oh * ow, kh * kw * c)


def col2im(cols, shape, kh, kw, stride, padding):
    """Add the rows of windows back into an image: the transpose of `im2col`.

    Parameters
    ----------
    cols : array
        (N OH OW, KH KW C)
    shape : tuple of int
        (N, H, W, C) of the image.
    kh, kw, stride, padding : int

    Returns
    -------
    array
        (N, H, W, C)

    Examples
    --------
    >>> col2im(np.ones((3, 2)), (1, 1, 4, 1), 1, 2, 1, 0).ravel()
    array([1., 2., 2., 1.])
    """
    xp = backend.get_xp(cols)
    n, h, w, c = shape
    padded = xp.zeros((n, h + 2 * padding, w + 2 * padding, c), cols.dtype)
    oh, ow = (padded.shape[1] - kh) // stride + 1, (padded.shape[2] - kw) // stride + 1
    cols = cols.reshape(n, oh, ow, kh, kw, c)
    for p in range(kh):
        for q in range(kw):
            padded[:, p : p + stride * oh : stride, q : q + stride * ow : stride] += cols[:, :, :, p, q]
    return padded[:, padding : padding + h, padding : padding + w]


def _check(x, w, bias, stride, padding):
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(
            f"conv2d: expected x (N, H, W, C) and w (KH, KW, C, OC), got shapes {x.shape} and {w.shape}"
        )
    if x.shape[3] != w.shape[2]:
        raise ValueError(
            f"conv2d: x has {x.shape[3]} channels (shape {x.shape}) but w expects {w.shape[2]} (shape {w.shape})"
        )
    if bias is not None and bias.shape != w.shape[3:]:
        raise ValueError(f"conv2d: bias has shape {bias.shape}, expected {w.shape[3:]} for w {w.shape}")
    if not (isinstance(stride, int) and stride >= 1 and isinstance(padding, int) and padding >= 0):
        raise ValueError(
            f"conv2d: stride must be an int >= 1 and padding an int >= 0, got {stride!r} and {padding!r}"
        )
    if x.shape[1] + 2 * padding < w.shape[0] or x.shape[2] + 2 * padding < w.shape[1]:
        raise ValueError(f"conv2d: the kernel of w {w.shape} is larger than x {x.shape} with padding {padding}")


def _correlate(x, w, stride, pad_h, pad_w):
    """Compute y = im2col(x) @ w, a chunk of the batch at a time."""
    xp = backend.get_xp(x)
    kh, kw, c, oc = w.shape
    oh = (x.shape[1] + 2 * pad_h - kh) // stride + 1
    ow = (x.shape[2] + 2 * pad_w - kw) // stride + 1
    y = xp.empty((len(x), oh, ow, oc), x.dtype)
    kernel = w.reshape(-1, oc)

    def work(images):
        cols = im2col(x[images], kh, kw, stride, pad_h, pad_w)
        xp.matmul(cols, kernel, out=y[images].reshape(-1, oc))

    parallel.run(work, parallel.chunks(x, oh * ow * len(kernel) * x.itemsize))
    return y


def _weight_gradient(x, dy, shape, stride, padding):
    """Compute dw = im2col(x)ᵀ @ dy, summed over the chunks in their order."""
    kh, kw, c, oc = shape

    def work(images):
        # As (dyᵀ @ cols)ᵀ: with few output channels BLAS is a quarter faster this way round.
        return dy[images].reshape(-1, oc).T @ im2col(x[images], kh, kw, stride, padding, padding)

    parts = parallel.run(work, parallel.chunks(x, dy[0, :, :, 0].size * kh * kw * c * x.itemsize))
    return backend.get_xp(x).ascontiguousarray(sum(parts[1:], parts[0]).T).reshape(shape)


def _input_gradient(dy, w, shape, stride, padding):
    """Compute dx as a convolution of dy with the flipped kernel, or as col2im(dy @ wᵀ).

    The first writes each pixel once and is faster, but only for stride 1, and it multiplies H W instead of OH OW
    windows: wasteful for a kernel that covers the whole image.
    """
    xp = backend.get_xp(dy)
    kh, kw, c, oc = w.shape
    n, h, width, _ = shape
    oh, ow = dy.shape[1:3]
    if stride == 1 and padding < min(kh, kw) and h * width <= 2 * oh * ow:
        flipped = xp.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))
        return _correlate(dy, flipped, 1, kh - 1 - padding, kw - 1 - padding)
    dx = xp.empty(shape, dy.dtype)
    kernel = w.reshape(-1, oc)

    def work(images):
        cols = dy[images].reshape(-1, oc) @ kernel.T
        dx[images] = col2im(cols, dx[images].shape, kh, kw, stride, padding)

    parallel.run(work, parallel.chunks(dy, oh * ow * len(kernel) * dy.itemsize))
    return dx
