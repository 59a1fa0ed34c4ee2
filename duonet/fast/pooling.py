"""2×2 max pooling that remembers two bits per output, not the images."""

import numpy as np

from duonet import engine, exact, parallel
from duonet.functional import pooling


@engine.twin("cpu")
class MaxPool2d(pooling.MaxPool2d):
    """The plain op, for windows of 2×2."""

    @staticmethod
    def suits(x, *, size, stride, padding):
        return (size, stride, padding) == (2, 2, 0) and x.size > 0

    @staticmethod
    def forward(ctx, x, *, size, stride, padding):
        pooling.check("max_pool2d", x, size, padding)
        n, h, w, c = ctx.shape = x.shape
        oh, ow = h // 2, w // 2
        y = np.empty((n, oh, ow, c), x.dtype)
        # Left before right, and above before below: the first of equal values counts.
        ctx.right, ctx.below = np.empty((n, oh, 2, ow, c), bool), np.empty((n, oh, ow, c), bool)
        chunks = parallel.chunks(n, h * w * c * x.itemsize)

        def work(some):
            pixels = _windows(x[some])
            left, right = pixels[:, :, :, :, 0], pixels[:, :, :, :, 1]
            np.greater(right, left, out=ctx.right[some])
            best = parallel.scratch(left.shape, x.dtype)
            np.maximum(left, right, out=best)
            np.greater(best[:, :, 1], best[:, :, 0], out=ctx.below[some])
            np.maximum(best[:, :, 0], best[:, :, 1], out=y[some])

        parallel.run(work, chunks)
        return y

    @staticmethod
    def backward(ctx, dy):
        n, h, w, c = ctx.shape
        dx = np.empty(ctx.shape, dy.dtype)
        dx[:, 2 * (h // 2) :] = dx[:, :, 2 * (w // 2) :] = 0
        upstream, downstream = exact.bits(dy), exact.bits(dx)

        def work(some):
            into = _windows(downstream[some])
            rows = parallel.scratch(ctx.right[some].shape, upstream.dtype)
            np.multiply(upstream[some], ctx.below[some], out=rows[:, :, 1])
            np.subtract(upstream[some], rows[:, :, 1], out=rows[:, :, 0])
            np.multiply(rows, ctx.right[some], out=into[:, :, :, :, 1])
            np.subtract(rows, into[:, :, :, :, 1], out=into[:, :, :, :, 0])

        parallel.run(work, parallel.chunks(n, h * w * c * dy.itemsize))
        return dx


def _windows(x):
    """View images (N, H, W, C) as (N, OH, 2, OW, 2, C), without the last row or column of an odd number."""
    n, h, w, c = x.shape
    image, row, pixel, value = x.strides
    shape = n, h // 2, 2, w // 2, 2, c
    return np.lib.stride_tricks.as_strided(x, shape, (image, 2 * row, row, 2 * pixel, pixel, value))
