"""Batch norm and staircase in one pass over memory forwards and two backwards, and the staircase by itself.

As in `duonet.fast`, a batch of images is rows of W C values, with the channels' vectors repeated along them, and
sums of rows are added in float64. The slope of the surrogate is not kept, but computed again from x. Batch norm by
itself uses the same arithmetic, so a norm with a staircase behind it gives the same bits as both in one.
"""

import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from duonet import engine
from duonet.compiled.codes import TOGETHER, gather, says_levels
from duonet.compiled.rows import aligned
from duonet.compiled.running import given, kernel, share
from duonet.fast import elementwise
from duonet.fast.normalization import Rows, remember
from duonet.functional import normalization
from duonet.functional.channels import refuse_misfit
from duonet.quant import activation
from duonet.quant.staircase import Staircase
from duonet.quant.surrogate import Clip, ReLU, Shifted, Surrogate

VALUES = 16384  # of a task, about: 64 KiB


class Window(NamedTuple):
    """A surrogate's slope: 1 for low < x − offset <= high and 0 elsewhere, or 1 everywhere."""

    low: np.float32
    high: np.float32
    offset: np.ndarray | np.float32 = np.float32(0)
    everywhere: bool = False


EVERYWHERE = Window(np.float32(0), np.float32(0), everywhere=True)


@engine.twin("compiled")
class Quantize(elementwise.Quantize):
    """NumPy's twin, with the levels attached to its output."""

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        y = elementwise.Quantize.forward(ctx, x, staircase=staircase, surrogate=surrogate)
        return says_levels(y, staircase)


@engine.twin("compiled")
class BatchNorm(normalization.BatchNorm):
    """The plain op's twin in float32."""

    @staticmethod
    def suits(x, *rest, **options):
        return x.size > 0 and x.dtype == np.float32

    @staticmethod
    def forward(ctx, x, gamma, beta, **options):
        rows = _remember(ctx, x, gamma, beta, options)
        y = aligned(x.shape)
        _share(_normalize, rows, rows.wide(ctx.a), rows.wide(ctx.b), y.reshape(rows.x.shape))
        return y

    @staticmethod
    def backward(ctx, dy):
        return _gradients(ctx, dy, EVERYWHERE)


@engine.twin("compiled")
class BatchNormThenQuantize(activation.BatchNormQuantize):
    """Norm and staircase one after the other, for any staircase and surrogate."""

    suits = staticmethod(BatchNorm.suits)

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        ctx.norm, ctx.steps = SimpleNamespace(needs=ctx.needs), SimpleNamespace(needs=(any(ctx.needs),))
        normal = BatchNorm.forward(ctx.norm, x, gamma, beta, **options)
        return Quantize.forward(ctx.steps, normal, staircase=staircase, surrogate=surrogate)

    @staticmethod
    def backward(ctx, dy):
        return BatchNorm.backward(ctx.norm, Quantize.backward(ctx.steps, dy))


@engine.twin("compiled")
class BatchNormQuantize(activation.BatchNormQuantize):
    """Norm and staircase in one, for two or three levels and a window as surrogate; makes the indices as well."""

    @staticmethod
    def suits(x, *rest, staircase, surrogate, **options):
        return BatchNorm.suits(x) and few(staircase) and window(surrogate) is not None

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        ctx.window = window(surrogate)
        for owner, name, vector in (
            ("quantize", "thresholds", staircase.thresholds[0]),
            ("Shifted", "offset", ctx.window.offset),
        ):
            if np.ndim(vector):
                refuse_misfit(owner, name, vector, x)
        rows = _remember(ctx, x, gamma, beta, options)
        y = aligned(x.shape)
        steps = [*staircase.thresholds, np.float64(math.nan)][:2]  # no value reaches a NaN
        low, high = (rows.wide(np.full(rows.channels, step, np.float32)) for step in steps)
        levels = np.array([*staircase.levels, math.nan][:3], np.float32)
        together = TOGETHER[len(staircase.levels)]
        groups = rows.channels // together if x.ndim == 4 and rows.channels % together == 0 else 0
        indices = np.empty((*x.shape[:-1], groups), np.uint8)
        _share(
            _step, rows, rows.wide(ctx.a), rows.wide(ctx.b), low, high, levels, together,
            y.reshape(rows.x.shape), indices.reshape(len(rows.x), -1),
        )  # fmt: skip
        says_levels(y, staircase)
        return engine.attach(y, indices=indices) if groups else y

    @staticmethod
    def backward(ctx, dy):
        return _gradients(ctx, dy, ctx.window)


def few(staircase: Staircase) -> bool:
    """Tell whether a staircase is plain, with two or three levels.

    Parameters
    ----------
    staircase : Staircase

    Returns
    -------
    bool

    Examples
    --------
    >>> from duonet.quant import Ternary, Uniform
    >>> few(Ternary()), few(Uniform(2))
    (True, False)
    """
    return getattr(staircase, "tabular", False) and len(staircase.levels) <= 3


def window(surrogate: Surrogate) -> Window | None:
    """Return where a surrogate's slope is 1, or None if the slope has values besides 0 and 1.

    Parameters
    ----------
    surrogate : Surrogate

    Returns
    -------
    Window or None

    Examples
    --------
    >>> from duonet.quant import Polynomial
    >>> window(Clip(0, 1, closed=True)).high, window(Clip(0, 1)).high < 1, window(Polynomial())
    (np.float32(1.0), np.True_, None)
    """
    if type(surrogate) is Shifted:
        inner = None if type(surrogate.surrogate) is Shifted else window(surrogate.surrogate)
        return inner and inner._replace(offset=surrogate.offset.astype(np.float32))
    infinity = np.float32(math.inf)
    if type(surrogate) is ReLU:
        return Window(np.float32(0), infinity)
    if type(surrogate) is not Clip or not {type(surrogate.low), type(surrogate.high)} <= {int, float}:
        return None  # NumPy compares Python numbers in the dtype of x, others in their own
    if max(-surrogate.low, surrogate.high) > float(np.finfo(np.float32).max):
        return None
    low, high = np.float32(surrogate.low), np.float32(surrogate.high)
    if surrogate.closed:
        return Window(np.nextafter(low, -infinity), high)
    return Window(low, np.nextafter(high, -infinity))


def _remember(ctx, x, gamma, beta, options):
    """Compute mean, variance, and a and b of y = a x + b, and keep the values that the backward pass needs."""

    def mean_and_variance(rows):
        about, sums = rows.near_mean(), _sums_of(rows)
        _share(_moments, rows, rows.wide(about), sums)
        return rows.moments(about, sums)

    rows = remember(ctx, x, gamma, beta, options, mean_and_variance)
    ctx.a = gamma * ctx.scale
    ctx.b = beta - ctx.mean * ctx.a
    return rows


def _gradients(ctx, dy, window):
    """Compute dx, dγ and dβ as `duonet.fast.normalization` does, with dy inside the window and 0 elsewhere."""
    rows, upstream = Rows(ctx.x), given(dy).reshape(-1, dy.shape[-1] * (dy.shape[-2] if dy.ndim == 4 else 1))
    offset = rows.wide(np.full(rows.channels, window.offset, np.float32))
    slope = rows.wide(ctx.a), rows.wide(ctx.b), offset, window.low, window.high, window.everywhere
    sums = _sums_of(rows)
    _share(_sums, rows, upstream, *slope, rows.wide(ctx.mean), sums)
    dbeta, products = rows.total(sums)
    dbeta, dgamma = dbeta.astype(np.float32), (products * ctx.scale).astype(np.float32)
    b = -ctx.a * ctx.scale * dgamma / rows.count
    c = -ctx.a * dbeta / rows.count - b * ctx.mean
    dx = aligned(ctx.x.shape)
    _share(
        _backward, rows, upstream, *slope, rows.wide(b), rows.wide(c), bool(ctx.training), dx.reshape(rows.x.shape)
    )
    return dx, dgamma, dbeta


def _each(rows):
    """Return the number of rows in a task."""
    return max(1, VALUES // rows.x.shape[1])


def _sums_of(rows):
    """Make room for two sums for every task and every place in a row."""
    return np.empty((-(-len(rows.x) // _each(rows)), 2, rows.x.shape[1]), np.float32)


def _share(kernel, rows, *values):
    share(kernel, -(-len(rows.x) // _each(rows)), rows.x.size / 4, _each(rows), given(rows.x), *values)


@kernel
def _moments(start, stop, each, x, about, out):
    for t in range(start, stop):
        total, squares = out[t, 0], out[t, 1]
        total[:] = 0
        squares[:] = 0
        for r in range(t * each, min(len(x), t * each + each)):
            v = x[r]
            for i in range(v.size):
                centred = v[i] - about[i]
                total[i] += centred
                squares[i] += centred * centred


@kernel
def _normalize(start, stop, each, x, a, b, y):
    for r in range(start * each, min(len(x), stop * each)):
        v, out = x[r], y[r]
        for i in range(v.size):
            out[i] = v[i] * a[i] + b[i]


@kernel
def _step(start, stop, each, x, a, b, first, second, levels, together, y, indices):
    zero, one, two = levels
    digits = np.empty(x.shape[1], np.uint8)
    for r in range(start * each, min(len(x), stop * each)):
        v, out = x[r], y[r]
        for i in range(v.size):
            normal = v[i] * a[i] + b[i]
            out[i] = two if normal >= second[i] else one if normal >= first[i] else zero
        if indices.size:  # while the row is in the cache
            for i in range(out.size):
                digits[i] = np.uint8(out[i] >= one) + np.uint8(out[i] >= two)
            gather(digits, together, indices[r])


@kernel
def _sums(start, stop, each, x, dy, a, b, offset, low, high, everywhere, mean, out):
    for t in range(start, stop):
        total, products = out[t, 0], out[t, 1]
        total[:] = 0
        products[:] = 0
        for r in range(t * each, min(len(x), t * each + each)):
            v, d = x[r], dy[r]
            for i in range(v.size):
                place = v[i] * a[i] + b[i] - offset[i]
                e = d[i] if everywhere | (place > low) & (place <= high) else np.float32(0)
                total[i] += e
                products[i] += e * (v[i] - mean[i])


@kernel
def _backward(start, stop, each, x, dy, a, b, offset, low, high, everywhere, slope, shift, training, dx):
    for r in range(start * each, min(len(x), stop * each)):
        v, d, out = x[r], dy[r], dx[r]
        for i in range(v.size):
            place = v[i] * a[i] + b[i] - offset[i]
            e = d[i] if everywhere | (place > low) & (place <= high) else np.float32(0)
            part = v[i] * slope[i] + shift[i] if training else np.float32(0)
            out[i] = e * a[i] + part
