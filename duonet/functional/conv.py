"""Convolution as one matrix product.

`im2col` writes every window of the image as a row; the convolution is then `cols @ w`, its weight gradient
`colsᵀ @ dy`, and its input gradient either a convolution of dy with the flipped kernel or `col2im(dy @ wᵀ)`.
`duonet.fast.conv` computes the same with a few images at a time, on all cores.
"""

import numpy as np

from duonet import arguments, backend
from duonet.backend import Array
from duonet.functional.channels import sum_rows
from duonet.inputs import together
from duonet.tensor import Function, Tensor


def conv2d(x: Tensor, w: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve (cross-correlate, as everywhere in deep learning) images with a bank of kernels.

    y[n, i, j, o] = bias[o] + Σ over (p, q, c) of x[n, s i + p − pad, s j + q − pad, c] w[p, q, c, o]. Where
    `cols` is the (N OH OW, KH KW C) matrix of windows, y = cols @ w, dw = colsᵀ @ dy, dcols = dy @ wᵀ and
    dbias = Σ dy; an element of x receives the sum over the windows that contain it.

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
    TypeError, ValueError
        If shapes do not fit, the kernel is larger than the padded image, or stride or padding is out of range.

    Examples
    --------
    >>> from duonet import Tensor
    >>> x = Tensor(np.arange(9, dtype="float32").reshape(1, 3, 3, 1))
    >>> conv2d(x, Tensor(np.ones((2, 2, 1, 1), "float32"))).data[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    stride, padding = steps(stride, padding)
    return Conv2d.apply(x, w, bias, stride=stride, padding=padding)


class Conv2d(Function):
    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        check(x, w, bias, padding)
        kh, kw, c, oc = w.shape
        y = im2col(x, kh, kw, stride, padding, padding) @ w.reshape(-1, oc)
        ctx.x, ctx.w, ctx.stride, ctx.padding = x, w, stride, padding
        oh, ow = ((size + 2 * padding - k) // stride + 1 for size, k in ((x.shape[1], kh), (x.shape[2], kw)))
        y = y.reshape(len(x), oh, ow, oc)
        return y if bias is None else y + bias

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        x, w, stride, padding = ctx.x, ctx.w, ctx.stride, ctx.padding
        kh, kw, c, oc = w.shape
        rows = dy.reshape(-1, oc)
        dx = dw = None
        if wants_x and flips(x.shape, w.shape, dy.shape, stride, padding):
            windows = im2col(dy, kh, kw, 1, kh - 1 - padding, kw - 1 - padding)
            dx = (windows @ flipped(w).reshape(-1, c)).reshape(x.shape)
        elif wants_x:
            dx = col2im(rows @ w.reshape(-1, oc).T, x.shape, kh, kw, stride, padding)
        if wants_w:  # windows take KH KW times the image's memory, so they are made again instead of kept
            dw = (im2col(x, kh, kw, stride, padding, padding).T @ rows).reshape(w.shape)
        return dx, dw, sum_rows(rows) if wants_bias else None


def conv2d_reference(x: Array, w: Array, bias: Array | None = None, stride: int = 1, padding: int = 0) -> Array:
    """Compute `conv2d` by six plain loops: the definition, forwards only, on raw arrays x, w and bias.

    Shapes, `stride`, `padding` and errors are as in `conv2d`.

    Examples
    --------
    >>> conv2d_reference(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))).item()
    4.0
    """
    x, w, bias = together(Conv2d, [x, w, bias])
    stride, padding = steps(stride, padding)
    check(x, w, bias, padding)
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


def im2col(x: Array, kh: int, kw: int, stride: int, pad_h: int, pad_w: int) -> Array:
    """Write the windows of images (N, H, W, C) as rows: (N OH OW, KH KW C).

    Parameters
    ----------
    x : array
        (N, H, W, C)
    kh, kw, stride, pad_h, pad_w : int
        Window size, pixels between windows, zeros on each side.

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


def col2im(cols: Array, shape: tuple[int, ...], kh: int, kw: int, stride: int, padding: int) -> Array:
    """Add the rows of windows back into images: the transpose of `im2col`.

    Parameters
    ----------
    cols : array
        (N OH OW, KH KW C)
    shape : tuple of int
        (N, H, W, C), the shape of the images.
    kh, kw, stride, padding : int

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


def steps(stride: int, padding: int) -> tuple[int, int]:
    """Check the steps of a convolution."""
    stride = arguments.integer("conv2d", "stride", stride, at_least=1)
    return stride, arguments.integer("conv2d", "padding", padding, at_least=0)


def check(x: Array, w: Array, bias: Array | None, padding: int) -> None:
    """Raise ValueError unless the arrays of a convolution fit."""
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"conv2d: expected x (N, H, W, C) and w (KH, KW, C, OC), got {x.shape} and {w.shape}")
    if 0 in w.shape:
        raise ValueError(f"conv2d: w {w.shape} has no elements")
    if x.shape[3] != w.shape[2]:
        raise ValueError(f"conv2d: x has {x.shape[3]} channels, w expects {w.shape[2]}: got {x.shape}, {w.shape}")
    if bias is not None and bias.shape != w.shape[3:]:
        raise ValueError(f"conv2d: bias has shape {bias.shape}, expected {w.shape[3:]} for w {w.shape}")
    if x.shape[1] + 2 * padding < w.shape[0] or x.shape[2] + 2 * padding < w.shape[1]:
        raise ValueError(f"conv2d: the kernel of w {w.shape} is larger than x {x.shape} with padding {padding}")


def flips(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], dy_shape: tuple[int, ...], stride: int, padding: int
) -> bool:
    """Return whether the input gradient is best computed as a convolution of dy with the flipped kernel.

    The convolution writes each pixel once, but it exists for stride 1 only, and it multiplies H W windows instead
    of OH OW: wasteful for a kernel that covers the whole image.
    """
    _, h, w, _ = x_shape
    _, oh, ow, _ = dy_shape
    return stride == 1 and padding < min(w_shape[:2]) and h * w <= 2 * oh * ow


def flipped(w: Array) -> Array:
    """Turn kernels (KH, KW, C, OC) by half a turn and exchange their inputs and outputs."""
    return backend.get_xp(w).ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))
