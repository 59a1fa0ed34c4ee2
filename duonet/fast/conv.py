"""Convolution a few images at a time, on all cores.

The columns of a few images fit the cache, the columns of a batch do not; small chunks alone save a third of the
time. With few channels, filling the columns takes longer than multiplying them, so only the width is unrolled: a
third of the copying for a 3×3 kernel, and one product for each kernel row. Wide 3×3 kernels go through `winograd`.
"""

import math

import numpy as np

from duonet import engine, parallel
from duonet.backend import Array
from duonet.fast import winograd
from duonet.fast.products import multiply, transposed_multiply
from duonet.functional import conv
from duonet.functional.channels import sum_rows

WIDTH_ONLY = 48  # below so many channels, unrolling the width alone is faster, unless the outputs are so many
FORWARDS, BACKWARDS = 2, 12  # times the channels: products are added up forwards, and dy is turned backwards
# A weight gradient is the sum of at most so many parts: a fixed number, for the same bits on any machine.
PARTS = 16
PARTS_BYTES = 1 << 24


@engine.twin("cpu")
class Conv2d(conv.Conv2d):
    """The plain op, in chunks."""

    @staticmethod
    def suits(x, *rest, **options):
        return x.size > 0

    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        conv.check(x, w, bias, padding)
        ctx.x, ctx.w, ctx.stride, ctx.padding = x, w, stride, padding
        return _correlate(x, w, bias, stride, padding, padding)

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        dy = np.ascontiguousarray(dy)
        dx = input_gradient(dy, ctx.w, ctx.x.shape, ctx.stride, ctx.padding) if wants_x else None
        dw = _weight_gradient(ctx.x, dy, ctx.w.shape, ctx.stride, ctx.padding) if wants_w else None
        db = sum_rows(dy.reshape(-1, dy.shape[-1])) if wants_bias else None
        return dx, dw, db


class _Windows:
    """The windows of a batch of images, for kernels (KH, KW), by chunks of images.

    `by_width` is true if only the width is unrolled: with fewer than `most` outputs for each channel.
    """

    def __init__(self, x, w_shape, stride, pad_h, pad_w, most):
        kh, kw, _, oc = w_shape
        n, h, w, c = x.shape
        self.x, self.kh, self.kw, self.stride, self.pads = np.ascontiguousarray(x), kh, kw, stride, (pad_h, pad_w)
        self.oh = (h + 2 * pad_h - kh) // stride + 1
        self.ow = (w + 2 * pad_w - kw) // stride + 1
        self.by_width = kh > 1 and kw > 1 and stride == 1 and c < WIDTH_ONLY and oc <= most * c
        values = (h + 2 * pad_h) * self.ow * kw * c if self.by_width else self.oh * self.ow * kh * kw * c
        self.chunks = parallel.chunks(n, values * x.itemsize)

    def padded(self, images):
        """Return some images with their border of zeros."""
        x = self.x[images]
        pad_h, pad_w = self.pads
        if not pad_h and not pad_w:
            return x
        n, h, w, c = x.shape
        out = parallel.scratch((n, h + 2 * pad_h, w + 2 * pad_w, c), x.dtype)
        out[:, :pad_h] = out[:, pad_h + h :] = 0
        out[:, :, :pad_w] = out[:, :, pad_w + w :] = 0
        out[:, pad_h : pad_h + h, pad_w : pad_w + w] = x
        return out

    def columns(self, images):
        """Lay out the windows of some images as rows: (images OH OW, KH KW C)."""
        x = self.padded(images)
        n, h, w, c = x.shape
        if self.kh == self.kw == self.stride == 1 or (self.kh, self.kw) == (h, w):
            return x.reshape(n * self.oh * self.ow, -1)
        image, row, pixel, value = x.strides
        shape = n, self.oh, self.ow, self.kh, self.kw * c
        # The constructor makes the view of `as_strided` in a tenth of the time.
        windows = np.ndarray(shape, x.dtype, x, 0, (image, self.stride * row, self.stride * pixel, row, value))
        out = parallel.scratch(shape, x.dtype)
        np.copyto(out, windows)
        return out.reshape(n * self.oh * self.ow, -1)

    def widths(self, images):
        """Return KH overlapping matrices (KH, OH images OW, KW C) of some images, each one row of pixels on."""
        x = self.padded(images)
        n, h, w, c = x.shape
        image, row, pixel, value = x.strides
        shape = h, n, self.ow, self.kw * c
        out = parallel.scratch(shape, x.dtype)
        np.copyto(out, np.ndarray(shape, x.dtype, x, 0, (row, image, pixel, value)))
        step = out.strides
        return np.ndarray(
            (self.kh, self.oh * n * self.ow, self.kw * c), x.dtype, out, 0, (step[0], step[2], step[3])
        )


def _correlate(x, w, bias, stride, pad_h, pad_w):
    """Compute y = im2col(x) @ w + bias."""
    kh, kw, c, oc = w.shape
    windows = _Windows(x, w.shape, stride, pad_h, pad_w, FORWARDS)
    if winograd.suits(w.shape, stride, windows.oh, windows.ow):
        y = winograd.correlate(windows.x, w, pad_h, pad_w)
        return y if bias is None else np.add(y, bias, out=y)
    y = np.empty((len(x), windows.oh, windows.ow, oc), x.dtype)
    kernel = w.reshape(kh, kw * c, oc) if windows.by_width else w.reshape(-1, oc)

    def by_columns(images):
        multiply(windows.columns(images), kernel, y[images].reshape(-1, oc))
        if bias is not None:
            y[images] += bias

    def by_width(images):
        rows = windows.oh, images.stop - images.start, windows.ow, oc
        out = parallel.scratch(rows, x.dtype)
        part = parallel.scratch(rows, x.dtype)
        matrices = windows.widths(images)
        multiply(matrices[0], kernel[0], out.reshape(-1, oc))
        for p in range(1, kh):
            multiply(matrices[p], kernel[p], part.reshape(-1, oc))
            if p < kh - 1:
                out += part
        np.add(out.swapaxes(0, 1), part.swapaxes(0, 1), out=y[images])
        if bias is not None:
            y[images] += bias

    parallel.run(by_width if windows.by_width else by_columns, windows.chunks, least=2)
    return y


def _weight_gradient(x, dy, shape, stride, padding):
    """Compute dw = im2col(x)ᵀ @ dy as a sum of parts, each over consecutive chunks."""
    kh, kw, c, oc = shape
    windows = _Windows(x, shape, stride, padding, padding, BACKWARDS)
    if winograd.suits(shape, stride, *dy.shape[1:3]):
        chunks, factors = winograd.weight_gradient_factors(windows.x, dy, padding)
        return winograd.from_transformed(_sum_of_products(factors, chunks, (16, oc, c), dy.dtype))

    def factors(images):
        # As (dyᵀ @ cols)ᵀ: with few output channels BLAS is a quarter faster this way round.
        if not windows.by_width:
            return dy[images].reshape(1, -1, oc), windows.columns(images)[None]
        rows = parallel.scratch((windows.oh, images.stop - images.start, windows.ow, oc), dy.dtype)
        np.copyto(rows, dy[images].swapaxes(0, 1))
        return rows.reshape(1, -1, oc), windows.widths(images)

    matrices = (kh, oc, kw * c) if windows.by_width else (1, oc, kh * kw * c)
    total = _sum_of_products(factors, windows.chunks, matrices, dy.dtype)
    return np.ascontiguousarray(total.swapaxes(1, 2)).reshape(shape)


def _sum_of_products(factors, chunks, shape, dtype):
    """Sum aᵀ @ b, stacks of matrices, over the chunks; (a, b) = factors(chunk).

    Consecutive chunks go to one part, and the parts are added in their order.
    """

    def work(some):
        total = np.empty(shape, dtype)
        transposed_multiply(*factors(some[0]), total)
        part = parallel.scratch(shape, dtype)
        for images in some[1:]:
            total += transposed_multiply(*factors(images), part)
        return total

    count = max(2, min(PARTS, PARTS_BYTES // (math.prod(shape) * dtype.itemsize)))
    step = -(-len(chunks) // count)
    first, *others = parallel.run(work, [chunks[i : i + step] for i in range(0, len(chunks), step)], least=2)
    for part in others:
        first += part
    return first


def input_gradient(dy: Array, w: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Compute dx as a convolution of dy with the flipped kernel, or as col2im(dy @ wᵀ); see the plain op."""
    kh, kw, c, oc = w.shape
    if conv.flips(shape, w.shape, dy.shape, stride, padding):
        return _correlate(dy, conv.flipped(w), None, 1, kh - 1 - padding, kw - 1 - padding)
    dx = np.empty(shape, dy.dtype)
    kernel = w.reshape(-1, oc).T
    values = dy.shape[1] * dy.shape[2] * kernel.shape[1]

    def work(images):
        rows = dy[images].reshape(-1, oc)
        if (kh, kw) == shape[1:3] and not padding:  # one window: its columns are the image
            np.matmul(rows, kernel, out=dx[images].reshape(len(rows), -1))
            return
        cols = parallel.scratch((len(rows), kernel.shape[1]), dy.dtype)
        np.matmul(rows, kernel, out=cols)
        dx[images] = conv.col2im(cols, dx[images].shape, kh, kw, stride, padding)

    parallel.run(work, parallel.chunks(len(dy), values * dy.itemsize), least=2)
    return dx
