"""Products of floats for which NumPy is slow: the first convolution, of few channels, and dx before a 2×2 pool."""

import functools

import numpy as np

from duonet import engine
from duonet.compiled.pooling import Pooled
from duonet.compiled.rows import aligned, blocks, byte, fma, load, number, outer, put, repeated, store, zero
from duonet.compiled.running import given, inlined, kernel, parts, share
from duonet.fast import conv as fast
from duonet.functional import conv
from duonet.functional.channels import sum_rows

AT_ONCE = 8  # neighbouring pixels whose outputs grow in registers together
ROWS = 12  # the largest KW C at which the rows of dw for one row of a kernel stay in registers together
BAND = 128  # pixels of one parity in a task of dx before a pool, for one block of channels


@engine.twin("compiled")
class Conv2d(conv.Conv2d):
    """The plain op's twin for float32 images of few channels."""

    @staticmethod
    def suits(x, w, bias, *, stride, padding):
        if x.ndim != 4 or w.ndim != 4 or x.size == 0 or x.dtype != np.float32:
            return False
        kh, kw, c, oc = w.shape
        wide = x.shape[2] + 2 * padding >= (AT_ONCE - 1) * stride + kw  # enough outputs in a row
        return kh > 1 and kw * c <= ROWS and oc >= 4 and wide

    @staticmethod
    def forward(ctx, x, w, bias, *, stride, padding):
        conv.check(x, w, bias, padding)
        ctx.x, ctx.w, ctx.stride, ctx.padding = x, w, stride, padding
        kh, kw, c, oc = w.shape
        oh, ow = ((size + 2 * padding - k) // stride + 1 for size, k in ((x.shape[1], kh), (x.shape[2], kw)))
        y = aligned((len(x), oh, ow, oc))
        lanes, starts = blocks(oc)
        bias = np.zeros(oc, np.float32) if bias is None else bias
        work = y.size // lanes * kh * kw * c
        share(
            _direct(lanes),
            len(x) * oh,
            work,
            given(x),
            given(w),
            given(bias),
            np.array(starts),
            stride,
            padding,
            y,
        )
        return y

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        dx = input_gradient(dy, ctx.w, ctx.x.shape, ctx.stride, ctx.padding) if wants_x else None
        dw = _weight_gradient(ctx.x, dy, ctx.w.shape, ctx.stride, ctx.padding) if wants_w else None
        return dx, dw, sum_rows(dy.reshape(-1, dy.shape[-1])) if wants_bias else None


def input_gradient(dy: np.ndarray, w: np.ndarray, shape: tuple[int, ...], stride: int, padding: int) -> np.ndarray:
    """Compute dx of a convolution: from the pool behind it if there is one, else as NumPy's twin does.

    Parameters
    ----------
    dy : numpy.ndarray
        (N, OH, OW, OC)
    w : numpy.ndarray
        (KH, KW, C, OC)
    shape : tuple of int
        Shape (N, H, W, C) of x.
    stride, padding : int

    Returns
    -------
    numpy.ndarray
        (N, H, W, C)

    Examples
    --------
    >>> dy, w = np.ones((1, 2, 2, 4), "float32"), np.ones((1, 1, 3, 4), "float32")
    >>> input_gradient(dy, w, (1, 2, 2, 3), stride=1, padding=0)[0, 0, 0]
    array([4., 4., 4.], dtype=float32)
    """
    pooled = engine.known(dy, "pooled")
    if pooled is not None and w.shape[:2] == (3, 3) and stride == padding == 1 and w.shape[2] >= 4:
        return pool_gradient(pooled, w, shape)
    return fast.input_gradient(np.ascontiguousarray(dy), w, shape, stride, padding)


def _weight_gradient(x, dy, shape, stride, padding):
    """Compute a dw with few rows: for each row of the kernel, KW C rows of W outputs stay in registers."""
    kh, kw, c, oc = shape
    lanes, starts = blocks(oc)
    count = parts(len(dy), kh * kw * c * oc)
    sums = np.empty((count, len(starts), kh, kw * c, lanes), np.float32)
    share(
        _direct_weight_gradient(lanes, kw * c), count * len(starts), dy.size // lanes * kh * kw * c,
        given(x), given(dy), np.array(starts), stride, padding, sums,
    )  # fmt: skip
    dw = np.empty(shape, np.float32)
    for start, found in zip(starts, sums.sum(axis=0)):
        dw[..., start : start + lanes] = found.reshape(kh, kw, c, lanes)
    return dw


@inlined
def _copy_row(x, image, row, padding, into):
    """Copy a row of an image between its borders, or zeros for a row outside the image."""
    n, h, width, c = x.shape
    inside = into[padding * c : (padding + width) * c]
    if 0 <= row < h:
        inside[:] = x[image, row].reshape(-1)
    else:
        inside[:] = 0


@functools.cache
def _direct(lanes):
    @kernel
    def direct(start, stop, x, w, bias, starts, stride, padding, y):
        n, h, width, c = x.shape
        kh, kw, _, oc = w.shape
        _, oh, ow, _ = y.shape
        weights, out = w.reshape(-1), y.reshape(-1)
        buffer = np.zeros((kh, (width + 2 * padding) * c), np.float32)
        windows, long = buffer.reshape(-1), buffer.shape[1]
        for t in range(start, stop):
            image, r = divmod(t, oh)
            for p in range(kh):
                _copy_row(x, image, r * stride + p - padding, padding, buffer[p])
            for o in starts:
                for begin in range(0, ow, AT_ONCE):
                    q = min(begin, ow - AT_ONCE)  # the last outputs may be computed twice
                    acc = repeated(load(bias, o, lanes), AT_ONCE)
                    for p in range(kh):
                        for k in range(kw * c):
                            row = load(weights, (p * kw * c + k) * oc + o, lanes)
                            acc = outer(acc, windows, p * long + q * stride * c + k, stride * c, row)
                    put(out, (t * ow + q) * oc + o, oc, acc)

    return direct


@functools.cache
def _direct_weight_gradient(lanes, rows):
    @kernel
    def direct_weight_gradient(start, stop, x, dy, starts, stride, padding, sums):
        n, h, width, c = x.shape
        _, oh, ow, oc = dy.shape
        count, kh = sums.shape[0], sums.shape[2]
        upstream, out = dy.reshape(-1), np.empty(rows * lanes, np.float32)
        window = np.zeros((width + 2 * padding) * c, np.float32)
        for t in range(start, stop):
            part, o = divmod(t, starts.size)
            sums[part, o] = 0
            for image in range(part * n // count, (part + 1) * n // count):
                for p in range(kh):
                    acc = repeated(zero(lanes), rows)
                    for r in range(oh):
                        _copy_row(x, image, r * stride + p - padding, padding, window)
                        at = (image * oh + r) * ow * oc + starts[o]
                        for q in range(ow):
                            acc = outer(acc, window, q * stride * c, 1, load(upstream, at + q * oc, lanes))
                    put(out, 0, lanes, acc)
                    sums[part, o, p] += out.reshape(rows, lanes)

    return direct_weight_gradient


def pool_gradient(pooled: Pooled, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Compute dx of a 3×3 convolution with stride and padding 1, and a 2×2 max pool behind it.

    dy has one value in each window of the pool, so a pixel's 3×3 neighbours hold four values at most, one from
    each of the four windows that they touch: 4 OC products do the work of 9 OC. The place of a value in its window
    determines its tap; a value that the kernel does not reach meets a tap of zeros.

    Parameters
    ----------
    pooled : Pooled
    w : numpy.ndarray
        (3, 3, C, OC)
    shape : tuple of int
        (N, H, W, C)

    Returns
    -------
    numpy.ndarray
        (N, H, W, C)
    """
    n, h, width, c = shape
    oc = w.shape[3]
    lanes, starts = blocks(c)
    taps = aligned((10, oc, c))
    taps[:9] = w.reshape(9, c, oc).swapaxes(1, 2)
    taps[9] = 0
    dx = aligned(shape)
    half = (h + 1) // 2
    band = max(2, min(half, BAND // width))
    tasks = n * -(-half // band)
    share(
        _pool_gradient(lanes), tasks, dx.size // lanes * 4 * oc, given(pooled.dy), pooled.where, taps,
        np.array(starts), band, dx,
    )  # fmt: skip
    return dx


@functools.cache
def _pool_gradient(lanes):
    @kernel
    def pool_gradient(start, stop, dy, where, taps, starts, band, dx):
        n, oh, ow, oc = dy.shape
        _, h, width, c = dx.shape
        weights, out, values, places = taps.reshape(-1), dx.reshape(-1), dy.reshape(-1), where.reshape(-1)
        bands = ((h + 1) // 2 + band - 1) // band
        tap = np.empty(4, np.intp)
        for t in range(start, stop):
            image, first = divmod(t, bands)
            first *= band
            for o in range(starts.size):
                for parity in range(4):
                    down, right = parity >> 1, parity & 1
                    for window in range(4):
                        wi, wj = window >> 1, window & 1
                        for a in range(4):  # the pixel of the window that holds the value
                            p, q = 3 - down - 2 * wi - (a >> 1), 3 - right - 2 * wj - (a & 1)
                            reached = 0 <= p < 3 and 0 <= q < 3
                            tap[a] = (p * 3 + q if reached else 9) * oc * c + starts[o]
                        for i in range(first, min((h + 1 - down) // 2, first + band)):
                            u = i + down - 1 + wi
                            for j in range((width + 1 - right) // 2):
                                v = j + right - 1 + wj
                                at = ((image * h + 2 * i + down) * width + 2 * j + right) * c + starts[o]
                                acc = zero(lanes) if window == 0 else load(out, at, lanes)
                                if 0 <= u < oh and 0 <= v < ow:
                                    k = ((image * oh + u) * ow + v) * oc
                                    for b in range(oc):
                                        row = load(weights, number(tap, byte(places, k + b)) + b * c, lanes)
                                        acc = fma(number(values, k + b), row, acc)
                                store(out, at, acc)

    return pool_gradient
