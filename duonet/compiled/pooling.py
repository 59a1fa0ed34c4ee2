"""2×2 max pooling in one pass each way; a byte for each output keeps the place of its maximum.

Backwards, three gradients of four are zero. The gradient's array tells this to the convolution before (`Pooled`).
"""

from typing import NamedTuple

import numpy as np

from duonet import engine
from duonet.compiled.rows import aligned
from duonet.compiled.running import given, kernel, share
from duonet.functional import pooling


class Pooled(NamedTuple):
    """The content of a gradient that came back through a pool.

    Attributes
    ----------
    dy : numpy.ndarray
        (N, H/2, W/2, C), the gradient of the pool's output.
    where : numpy.ndarray
        (N, H/2, W/2, C), uint8: the pixel of the window that gets the value, 0 and 1 above, 2 and 3 below.
    """

    dy: np.ndarray
    where: np.ndarray


@engine.twin("compiled")
class MaxPool2d(pooling.MaxPool2d):
    """The plain op's twin for windows of 2×2 in float32."""

    @staticmethod
    def suits(x, *, size, stride, padding):
        return (size, stride, padding) == (2, 2, 0) and x.size > 0 and x.dtype == np.float32

    @staticmethod
    def forward(ctx, x, *, size, stride, padding):
        pooling.check("max_pool2d", x, size, padding)
        n, h, w, c = ctx.shape = x.shape
        y = aligned((n, h // 2, w // 2, c))
        ctx.where = np.empty(y.shape, np.uint8)
        share(_largest, n * (h // 2), x.size / 8, given(x), y, ctx.where)
        return y

    @staticmethod
    def backward(ctx, dy):
        n, h, w, c = ctx.shape
        dx = aligned(ctx.shape)
        dx[:, 2 * (h // 2) :] = dx[:, :, 2 * (w // 2) :] = 0
        dy = given(dy)
        share(_to_largest, n * (h // 2), dx.size / 8, dy, ctx.where, dx)
        return engine.attach(dx, pooled=Pooled(dy, ctx.where))


@kernel
def _largest(start, stop, x, y, where):
    n, oh, ow, c = y.shape
    for t in range(start, stop):
        image, i = divmod(t, oh)
        above, below = x[image, 2 * i].reshape(-1), x[image, 2 * i + 1].reshape(-1)
        for j in range(ow):
            out, place = y[image, i, j], where[image, i, j]
            a, b = above[2 * j * c :][:c], above[2 * j * c + c :][:c]
            d, e = below[2 * j * c :][:c], below[2 * j * c + c :][:c]
            for k in range(c):  # the first of equals counts; a NaN is larger than any number
                right, right_below = (b[k] > a[k]) | (b[k] != b[k]), (e[k] > d[k]) | (e[k] != e[k])
                first, second = b[k] if right else a[k], e[k] if right_below else d[k]
                lower = (second > first) | (second != second)
                out[k] = second if lower else first
                place[k] = np.uint8(2) + np.uint8(right_below) if lower else np.uint8(right)


@kernel
def _to_largest(start, stop, dy, where, dx):
    n, oh, ow, c = dy.shape
    zero = np.float32(0)
    for t in range(start, stop):
        image, i = divmod(t, oh)
        above, below = dx[image, 2 * i].reshape(-1), dx[image, 2 * i + 1].reshape(-1)
        for j in range(ow):
            d, place = dy[image, i, j], where[image, i, j]
            left, right = above[2 * j * c :][:c], above[2 * j * c + c :][:c]
            left_below, right_below = below[2 * j * c :][:c], below[2 * j * c + c :][:c]
            for k in range(c):
                left[k] = d[k] if place[k] == 0 else zero
                right[k] = d[k] if place[k] == 1 else zero
                left_below[k] = d[k] if place[k] == 2 else zero
                right_below[k] = d[k] if place[k] == 3 else zero
