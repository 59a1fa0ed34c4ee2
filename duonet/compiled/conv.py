"""Convolution of activations of two or three levels, by tables of sums of four rows; `tables` explains them.

Forwards, four neighbouring *channels* make an index: a window's row of KW C values is KW C/4 bytes side by side,
and each is looked up in the table of its four rows of weights. For dw, four neighbouring *pixels* of a channel
make an index; shifted additions of bytes give it at every pixel, and it is looked up in the table of four rows of
dy:

    y[pixel]     = Σ over rows p of the kernel and indices j of  tables(w[p])[j, index[pixel + p, j]]
    dw[p, q, c]  = Σ over fours of pixels                    of  tables(dy[four])[index[four + (p, q), c]]

A block of tables fits the first-level cache; a row of W outputs, W up to 32, stays in registers while it grows.
If W does not divide OC, the last block begins earlier, and computes the outputs that it shares a second time.
"""

import functools

import numpy as np

from duonet import engine
from duonet.compiled.codes import Code, code_of, packed
from duonet.compiled.dense import input_gradient
from duonet.compiled.rows import add, aligned, blocks, byte, load, store, zero
from duonet.compiled.running import given, kernel, parts, share
from duonet.compiled.tables import grow, slide, spread
from duonet.functional import conv
from duonet.functional.channels import sum_rows

PIXELS = 1024  # of a task, for one row of outputs
FORWARD_BYTES, BACKWARD_BYTES = 48 << 10, 24 << 10  # of a block of tables


@engine.twin("compiled")
class Conv2d(conv.Conv2d):
    """The plain op's twin for inputs whose two or three levels are known."""

    @staticmethod
    def suits(x, w, bias, *, stride, padding):
        if x.size == 0 or w.ndim != 4 or x.ndim != 4 or code_of(x, padding > 0) is None:
            return False
        kh, kw, c, oc = w.shape
        return oc >= 4 and kh * kw * c >= 16

    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        conv.check(x, w, bias, padding)
        code = code_of(x, padding > 0)
        indices = packed(x, code, padding)
        ctx.indices, ctx.code, ctx.shape = indices, code, x.shape
        ctx.w, ctx.stride, ctx.padding = w, stride, padding
        return correlate(indices, code, w, bias, stride)

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        dx = input_gradient(dy, ctx.w, ctx.shape, ctx.stride, ctx.padding) if wants_x else None
        dw = weight_gradient(ctx.indices, ctx.code, dy, ctx.w.shape, ctx.stride) if wants_w else None
        return dx, dw, sum_rows(dy.reshape(-1, dy.shape[-1])) if wants_bias else None


def correlate(indices: np.ndarray, code: Code, w: np.ndarray, bias: np.ndarray | None, stride: int) -> np.ndarray:
    """Compute y = im2col(x) @ w + bias for a coded x.

    Parameters
    ----------
    indices : numpy.ndarray
        (N, H, W, ⌈C / together⌉), with the border, as `packed` makes them.
    code : Code
    w : numpy.ndarray
        (KH, KW, C, OC)
    bias : numpy.ndarray or None
        (OC,)
    stride : int

    Returns
    -------
    numpy.ndarray
        (N, OH, OW, OC)

    Examples
    --------
    >>> x, code = np.ones((1, 2, 2, 4), "float32"), Code((0.0, 1.0))
    >>> correlate(packed(x, code), code, np.ones((2, 2, 4, 4), "float32"), None, stride=1).ravel()
    array([16., 16., 16., 16.], dtype=float32)
    """
    kh, kw, c, oc = w.shape
    n, h, width, groups = indices.shape
    y = aligned((n, (h - kh) // stride + 1, (width - kw) // stride + 1, oc))
    lanes, starts = blocks(oc)
    bias = np.zeros(oc, np.float32) if bias is None else bias
    each = max(1, PIXELS // y.shape[2])  # rows of a task
    tasks = -(-n * y.shape[1] // each) * len(starts)
    block = _block(kw * groups, FORWARD_BYTES, code, lanes)
    work = y.size // lanes * kh * kw * groups
    share(
        _forward(lanes), tasks, work, indices, given(w), np.array(code.levels, np.float32), given(bias),
        np.array(starts), code.together, stride, each, block, y,
    )  # fmt: skip
    return y


def weight_gradient(
    indices: np.ndarray, code: Code, dy: np.ndarray, shape: tuple[int, ...], stride: int
) -> np.ndarray:
    """Compute dw = im2col(x)ᵀ @ dy for a coded x, as a sum over parts that depend on shapes alone.

    Parameters
    ----------
    indices : numpy.ndarray
        (N, H, W, ⌈C / together⌉), with the border, as `packed` makes them.
    code : Code
    dy : numpy.ndarray
        (N, OH, OW, OC)
    shape : tuple of int
        (KH, KW, C, OC)
    stride : int

    Returns
    -------
    numpy.ndarray
        (KH, KW, C, OC)
    """
    kh, kw, c, oc = shape
    lanes, starts = blocks(oc)
    fours = dy.shape[1] * -(-dy.shape[2] // code.together)  # of an image, for any number together
    block = _block(fours, BACKWARD_BYTES, code, lanes)
    channels = indices.shape[3] * code.together
    count = parts(len(dy), kh * kw * channels * oc)
    sums = aligned((count, len(starts), kh * kw * channels, lanes))
    sums[...] = 0
    work = len(dy) * fours * kh * kw * c * len(starts)
    share(
        _weight_gradient(lanes), count * len(starts), work, indices, given(dy), _digits(code),
        np.array(code.levels, np.float32), np.array(starts), stride, kh, kw, block, sums,
    )  # fmt: skip
    total = sums.sum(axis=0).reshape(len(starts), kh, kw, channels, lanes)
    dw = np.empty(shape, np.float32)
    for start, found in zip(starts, total):
        dw[..., start : start + lanes] = found[:, :, :c]
    return dw


def _block(tables, size, code, lanes):
    """Return the number of tables in a block: blocks of about equal size, none larger than `size` bytes."""
    most = max(1, size // (4 * lanes * code.rows))
    return -(-tables // -(-tables // most))


@functools.cache
def _digits(code):
    """Return the digits of every index, (rows, together), uint8."""
    return (np.arange(code.rows)[:, None] // code.base ** np.arange(code.together) % code.base).astype(np.uint8)


@functools.cache
def _forward(lanes):
    @kernel
    def forward(start, stop, indices, w, levels, bias, starts, together, stride, each, block, y):
        n, h, width, groups = indices.shape
        kh, kw, c, oc = w.shape
        rows, ow = n * y.shape[1], y.shape[2]
        size = levels.size**together * lanes
        codes, weights, out, first = indices.reshape(-1), w.reshape(-1), y.reshape(-1), bias.reshape(-1)
        memory = np.empty(block * size + each * ow * lanes + 32, np.float32)
        skipped = (-memory.ctypes.data // 4) % 16  # to a cache line
        tables, sums = memory[skipped:], memory[skipped + block * size :]
        for t in range(start, stop):
            chunk, o = divmod(t, starts.size)
            o = starts[o]
            for p in range(kh):
                for j0 in range(0, kw * groups, block):
                    j1 = min(kw * groups, j0 + block)
                    for j in range(j0, j1):
                        q, channel = divmod(j, groups)
                        channel *= together
                        at, filled = (j - j0) * size, 1
                        store(tables, at, zero(lanes))
                        for i in range(together):
                            row = zero(lanes)
                            if channel + i < c:
                                row = load(weights, ((p * kw + q) * c + channel + i) * oc + o, lanes)
                            grow(tables, at, filled, levels, row)
                            filled *= levels.size
                    begins = p == 0 and j0 == 0
                    ends = p == kh - 1 and j1 == kw * groups
                    for r in range(chunk * each, min(rows, chunk * each + each)):
                        image, row_ = divmod(r, y.shape[1])
                        at = ((image * h + row_ * stride + p) * width) * groups + j0
                        local = (r - chunk * each) * ow * lanes
                        final = r * ow * oc + o
                        for _ in range(ow):
                            acc = load(first, o, lanes) if begins else load(sums, local, lanes)
                            for j in range(j1 - j0):
                                acc = add(acc, load(tables, j * size + byte(codes, at + j) * lanes, lanes))
                            if ends:
                                store(out, final, acc)
                            else:
                                store(sums, local, acc)
                            at += stride * groups
                            local += lanes
                            final += oc

    return forward


@functools.cache
def _weight_gradient(lanes):
    @kernel
    def weight_gradient(start, stop, indices, dy, digits, levels, starts, stride, kh, kw, block, sums):
        n, h, width, groups = indices.shape
        _, oh, ow, oc = dy.shape
        count = sums.shape[0]
        rows, together = digits.shape
        channels = groups * together
        fours = -(-ow // together)
        size = rows * lanes
        reach = (together - 1) * stride  # from the first to the last pixel of an index
        long = max(width, (fours * together - 1) * stride + kw)
        slid = long - reach
        flat = np.zeros(long * channels, np.uint8)
        found = np.empty((h, slid * channels), np.uint8)
        upstream, into, codes = dy.reshape(-1), sums.reshape(-1), found.reshape(-1)
        memory = np.empty(block * size + 16, np.float32)
        tables = memory[(-memory.ctypes.data // 4) % 16 :]
        places = np.empty(block, np.intp)
        for t in range(start, stop):
            part, o = divmod(t, starts.size)
            for image in range(part * n // count, (part + 1) * n // count):
                for r in range(h):
                    spread(indices[image, r].reshape(-1), digits, flat)
                    slide(flat, channels * stride, together, found[r])
                for f0 in range(0, oh * fours, block):
                    many = min(block, oh * fours - f0)
                    for j in range(many):
                        r, q = divmod(f0 + j, fours)
                        q *= together
                        places[j] = (r * slid + q) * stride * channels
                        at, filled = j * size, 1
                        store(tables, at, zero(lanes))
                        for i in range(together):
                            row = zero(lanes)
                            if q + i < ow:
                                row = load(upstream, ((image * oh + r) * ow + q + i) * oc + starts[o], lanes)
                            grow(tables, at, filled, levels, row)
                            filled *= levels.size
                    into_at = t * kh * kw * channels * lanes
                    for p in range(kh):
                        for q in range(kw):
                            tap = (p * slid + q) * channels
                            for c in range(channels):
                                acc = load(into, into_at, lanes)
                                for j in range(many):
                                    index = byte(codes, places[j] + tap + c)
                                    acc = add(acc, load(tables, j * size + index * lanes, lanes))
                                store(into, into_at, acc)
                                into_at += lanes

    return weight_gradient
