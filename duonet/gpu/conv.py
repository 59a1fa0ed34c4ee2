"""Convolution on the GPU: a kernel lays out the windows, and one large matrix product does the rest."""

import functools
import operator

from duonet import backend, engine
from duonet.backend import Array
from duonet.functional import conv as plain
from duonet.functional.channels import sum_rows
from duonet.gpu import kernels

BUDGET = 2**30  # bytes of windows at a time; for a 3×3 kernel, windows take nine times the image's bytes


@engine.twin("gpu")
class Conv2d(plain.Conv2d):
    """The plain op with im2col and col2im as kernels, on parts of the batch whose windows fit `BUDGET`."""

    @staticmethod
    def suits(x, w, bias, **options):
        return kernels.suit(x, w, bias)

    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        plain.check(x, w, bias, padding)
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


def im2col(x: Array, kh: int, kw: int, stride: int, pad_h: int, pad_w: int) -> Array:
    """Lay the windows of an image out as rows: `duonet.functional.conv.im2col` in one kernel.

    Parameters
    ----------
    x : array
        (N, H, W, C)
    kh, kw, stride, pad_h, pad_w : int
        Window size, pixels between windows, and zeros on each side; the zeros are never stored.

    Returns
    -------
    array
        (N OH OW, KH KW C)
    """
    xp = backend.get_xp(x)
    n, h, w, c = x.shape
    oh, ow = (h + 2 * pad_h - kh) // stride + 1, (w + 2 * pad_w - kw) // stride + 1
    if max(x.size, n * oh * ow * kh * kw * c) > kernels.MOST:
        return plain.im2col(x, kh, kw, stride, pad_h, pad_w)
    x = xp.ascontiguousarray(x)
    cols = xp.empty((n * oh * ow, kh * kw * c), x.dtype)
    # Four floats or two doubles of one pixel at a time: fewer threads, fewer divisions in each.
    together = 16 // x.itemsize
    wide = c % together == 0 and backend.address(x) % 16 == 0
    units = c // together if wide else c
    count = n * oh * ow * kw * units
    sizes = (count, h, w, units, oh, ow, kh, kw, stride, pad_h, pad_w)
    kernels.launch(
        "conv", "im2col", x.dtype, kernels.blocks(count), x, cols, *sizes, unit="float4" if wide else None
    )
    return cols


def col2im(cols: Array, x: Array, kh: int, kw: int, stride: int, padding: int) -> None:
    """Add the rows of windows back into an image: `duonet.functional.conv.col2im` in one kernel.

    Parameters
    ----------
    cols : array
        (N OH OW, KH KW C)
    x : array
        (N, H, W, C), contiguous; written to.
    kh, kw, stride, padding : int
    """
    n, h, w, c = x.shape
    if max(cols.size, x.size) > kernels.MOST:
        x[...] = plain.col2im(cols, x.shape, kh, kw, stride, padding)
        return
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    sizes = (x.size, h, w, c, oh, ow, kh, kw, stride, padding)
    kernels.launch("conv", "col2im", x.dtype, kernels.blocks(x.size), cols, x, *sizes)


def _are_rows(shape, kh, kw, stride, pad_h, pad_w):
    """Return whether the windows lie in memory as rows already: each is a pixel, or the whole image."""
    return not (pad_h or pad_w) and (kh == kw == stride == 1 or shape[1:3] == (kh, kw))


def _parts(n, bytes_each):
    """Cut n images into equal slices whose windows fit the budget."""
    count = min(n, -(-n * bytes_each // BUDGET))
    bounds = [n * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in zip(bounds, bounds[1:])]


def _correlate(x, w, stride, pad_h, pad_w):
    """Compute y = im2col(x) @ w."""
    xp = backend.get_xp(x)
    kh, kw, c, oc = w.shape
    oh, ow = (x.shape[1] + 2 * pad_h - kh) // stride + 1, (x.shape[2] + 2 * pad_w - kw) // stride + 1
    kernel = w.reshape(-1, oc)
    if _are_rows(x.shape, kh, kw, stride, pad_h, pad_w):
        return (x.reshape(-1, len(kernel)) @ kernel).reshape(len(x), oh, ow, oc)
    y = xp.empty((len(x), oh, ow, oc), x.dtype)
    for part in _parts(len(x), oh * ow * len(kernel) * x.itemsize):
        xp.matmul(im2col(x[part], kh, kw, stride, pad_h, pad_w), kernel, out=y[part].reshape(-1, oc))
    return y


def _weight_gradient(x, dy, shape, stride, padding):
    """Compute dw = im2col(x)ᵀ @ dy from windows laid out again: kept windows would take nine times the image."""
    kh, kw, c, oc = shape
    if _are_rows(x.shape, kh, kw, stride, padding, padding):
        return (x.reshape(-1, kh * kw * c).T @ dy.reshape(-1, oc)).reshape(shape)
    products = (
        im2col(x[part], kh, kw, stride, padding, padding).T @ dy[part].reshape(-1, oc)
        for part in _parts(len(x), dy.shape[1] * dy.shape[2] * kh * kw * c * x.itemsize)
    )
    return functools.reduce(operator.add, products).reshape(shape)


def _input_gradient(dy, w, shape, stride, padding):
    """Compute dx as a convolution of dy with the flipped kernel, or as col2im(dy @ wᵀ).

    For stride 1 and images that keep their size, both need the same number of multiplications, and the windows'
    size (of dy or of x) sets the time: the smaller windows win. Any other stride needs the second way.
    """
    xp = backend.get_xp(dy)
    kh, kw, c, oc = w.shape
    n, h, width, _ = shape
    oh, ow = dy.shape[1:3]
    kernel = w.reshape(-1, oc)
    if _are_rows(shape, kh, kw, stride, padding, padding):
        return (dy.reshape(-1, oc) @ kernel.T).reshape(shape)
    if stride == 1 and padding < min(kh, kw) and h * width * oc <= oh * ow * c:
        flipped = xp.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))
        return _correlate(dy, flipped, 1, kh - 1 - padding, kw - 1 - padding)
    dx = xp.empty(shape, dy.dtype)
    for part in _parts(n, oh * ow * len(kernel) * dy.itemsize):
        col2im(dy[part].reshape(-1, oc) @ kernel.T, dx[part], kh, kw, stride, padding)
    return dx
