"""Batch normalisation in two passes over memory each way: one for the sums, one for the result."""

from collections.abc import Callable
from typing import Any

import numpy as np

from duonet import engine, exact, parallel
from duonet.backend import Array
from duonet.functional import normalization
from duonet.quant import activation

SAMPLE = 64  # rows


@engine.twin("cpu")
class BatchNorm(normalization.BatchNorm):
    """The plain op; it adds up the sums of chunks in float64."""

    @staticmethod
    def suits(x, *rest, **options):
        return x.size > 0 and x.dtype != np.float16  # the plain op widens the sums of float16

    @staticmethod
    def forward(ctx, x, gamma, beta, **options):
        rows = remember(ctx, x, gamma, beta, options)
        y = np.empty(x.shape, x.dtype)
        out = y.reshape(rows.x.shape)
        normalize = _normalizer(ctx, rows, beta)
        parallel.run(lambda some: normalize(some, out[some]), rows.chunks)
        return y

    @staticmethod
    def backward(ctx, dy):
        return _gradients(ctx, Rows(dy).x.__getitem__)


@engine.twin("cpu")
class BatchNormQuantize(activation.BatchNormQuantize):
    """Both ops on a chunk while it is in the cache: the normalised images are never stored."""

    suits = staticmethod(BatchNorm.suits)

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        rows = remember(ctx, x, gamma, beta, options)
        y = np.empty(x.shape, x.dtype)
        out = y.reshape(-1, rows.repeat, rows.channels)
        ctx.slope = np.empty(out.shape, surrogate.derivative(x[:0]).dtype) if any(ctx.needs) else None
        normalize = _normalizer(ctx, rows, beta)

        def work(some):
            normal = parallel.scratch(rows.x[some].shape, x.dtype)
            normalize(some, normal)
            normal = normal.reshape(out[some].shape)
            out[some] = staircase(normal)
            if ctx.slope is not None:
                ctx.slope[some] = surrogate.derivative(normal)

        parallel.run(work, rows.chunks)
        return y

    @staticmethod
    def backward(ctx, dy):
        upstream = Rows(dy).x
        slope = ctx.slope.reshape(upstream.shape)

        def through_surrogate(some):
            out = parallel.scratch(upstream[some].shape, dy.dtype)
            return exact.chain(upstream[some], slope[some], out=out)

        return _gradients(ctx, through_surrogate)


def remember(
    ctx: Any,
    x: Array,
    gamma: Array,
    beta: Array,
    options: dict[str, Any],
    mean_and_variance: Callable | None = None,
) -> "Rows":
    """Find the mean and variance, keep what the backward pass needs, and return the rows of x."""
    running_mean, running_var, training = (options[k] for k in ("running_mean", "running_var", "training"))
    normalization.check(x, gamma, beta, running_mean, running_var, training)
    rows = Rows(x)
    if training:
        mean, var = (a.astype(x.dtype) for a in (mean_and_variance or _mean_and_variance)(rows))
        normalization.follow(running_mean, running_var, mean, var, rows.count, options["momentum"])
    else:
        mean, var = (a.astype(x.dtype) for a in (running_mean, running_var))  # copies: training changes both
    ctx.x, ctx.mean, ctx.gamma, ctx.training = x, mean, gamma, training
    ctx.scale = 1 / np.sqrt(var + options["eps"])
    return rows


def _normalizer(ctx, rows, beta):
    """Return the function that writes γ (x − mean) / σ + β, in the form a x + b, for some rows."""
    a = ctx.gamma * ctx.scale
    a, b = rows.wide(a), rows.wide(beta - ctx.mean * a)

    def normalize(some, out):
        np.multiply(rows.x[some], a, out=out)
        out += b

    return normalize


def _gradients(ctx, upstream):
    """Compute dx, dγ and dβ; `upstream` gives some rows of dy."""
    rows, dtype = Rows(ctx.x), ctx.x.dtype
    mean = rows.wide(ctx.mean)

    def sums(some):
        dy = upstream(some)
        centred = np.subtract(rows.x[some], mean, out=parallel.scratch(dy.shape, dtype))
        return rows.sum(dy), np.einsum("mc,mc->c", dy, centred)

    dbeta, products = rows.total(parallel.run(sums, rows.chunks))
    dbeta, dgamma = dbeta.astype(dtype), (products * ctx.scale).astype(dtype)
    dx = np.empty(ctx.x.shape, dtype)
    out = dx.reshape(rows.x.shape)
    # γ/σ (dy − dβ/M − x̂ dγ/M) = a dy + b x + c; in evaluation, a dy.
    a = ctx.gamma * ctx.scale
    b = -a * ctx.scale * dgamma / rows.count
    c = rows.wide(-a * dbeta / rows.count - b * ctx.mean)
    a, b = rows.wide(a), rows.wide(b)

    def work(some):
        np.multiply(upstream(some), a, out=out[some])
        if ctx.training:
            part = np.multiply(rows.x[some], b, out=parallel.scratch(out[some].shape, dtype))
            part += c
            out[some] += part

    parallel.run(work, rows.chunks)
    return dx, dgamma, dbeta


class Rows:
    """An image batch as rows of W C values (C alone is a short inner loop for NumPy), and its chunks."""

    def __init__(self, x: Array) -> None:
        self.channels = x.shape[-1]
        self.repeat = x.shape[-2] if x.ndim == 4 else 1
        self.count = x.size // self.channels
        self.x = np.ascontiguousarray(x).reshape(-1, self.repeat * self.channels)
        self.chunks = parallel.chunks(len(self.x), self.x.shape[1] * x.itemsize)
        self.ones = np.ones(self.chunks[0].stop + 1, x.dtype)  # chunks differ in length by one row

    def wide(self, vector: Array) -> Array:
        """Repeat a vector (C,) for every pixel of a row."""
        return np.tile(vector, self.repeat)

    def sum(self, x: Array) -> Array:
        """Sum rows x by a matrix product: BLAS is four times as fast as `sum`."""
        return self.ones[: len(x)] @ x

    def near_mean(self) -> Array:
        """Average a sample, (C,)."""
        sample = self.x[:: 1 + len(self.x) // SAMPLE]
        return sample.sum(axis=0).reshape(self.repeat, -1).sum(axis=0) / (len(sample) * self.repeat)

    def moments(self, about: Array, parts: Any) -> tuple[Array, Array]:
        """Return mean and variance, (C,) each, from sums of x − about and of its squares."""
        total, squares = self.total(parts)
        shift = total / self.count
        return about + shift, squares / self.count - shift**2

    def total(self, parts: Any) -> Array:
        """Add up the chunks' pairs (first, second) of (W C,) sums in float64, to two (C,) sums."""
        sums = np.sum(parts, axis=0, dtype=np.float64)
        return sums.reshape(2, self.repeat, self.channels).sum(axis=1)


def _mean_and_variance(rows):
    """Compute both in one pass, from sums about a sample's mean: sums about 0 would drown a small variance."""
    about = rows.near_mean()
    wide = rows.wide(about)

    def sums(some):
        x = rows.x[some]
        centred = np.subtract(x, wide, out=parallel.scratch(x.shape, x.dtype))
        return rows.sum(centred), np.einsum("mc,mc->c", centred, centred)

    return rows.moments(about, parallel.run(sums, rows.chunks))
