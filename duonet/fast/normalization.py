"""Batch normalisation in two passes over memory each way: one for the sums, one for the result."""

import numpy as np

from duonet import engine, parallel
from duonet.functional import normalization

ARRAYS = 4  # that a chunk of rows is worth, in the cache


@engine.twin("cpu")
class BatchNorm(normalization.BatchNorm):
    """As the plain op, with the sums of chunks put together in float64."""

    @staticmethod
    def forward(ctx, x, gamma, beta, *, running_mean, running_var, training, momentum, eps):
        normalization.check(x, gamma, beta, running_mean, running_var, training)
        rows = _Rows(x)
        if training:
            mean, var = (a.astype(x.dtype) for a in _mean_and_variance(rows))
            normalization.follow(running_mean, running_var, mean, var, rows.count, momentum)
        else:
            mean, var = (a.astype(x.dtype, copy=False) for a in (running_mean, running_var))
        ctx.x, ctx.mean, ctx.gamma, ctx.training = x, mean, gamma, training
        ctx.scale = 1 / np.sqrt(var + eps)
        y = np.empty(x.shape, x.dtype)
        a, b = rows.wide(gamma * ctx.scale), rows.wide(beta - mean * gamma * ctx.scale)
        out = y.reshape(rows.x.shape)

        def work(some):
            np.multiply(rows.x[some], a, out=out[some])
            out[some] += b

        parallel.run(work, rows.chunks)
        return y

    @staticmethod
    def backward(ctx, dy):
        rows, upstream = _Rows(ctx.x), _Rows(dy)
        mean = rows.wide(ctx.mean)

        def sums(some):
            centred = np.subtract(
                rows.x[some], mean, out=parallel.scratch("centred", rows.x[some].shape, dy.dtype)
            )
            return upstream.sum(some), rows.fold(np.einsum("mc,mc->c", upstream.x[some], centred))

        dbeta, products = (
            np.sum(part, axis=0, dtype=np.float64) for part in zip(*parallel.run(sums, rows.chunks))
        )
        dbeta, dgamma = dbeta.astype(dy.dtype), (products * ctx.scale).astype(dy.dtype)
        dx = np.empty(dy.shape, dy.dtype)
        out = dx.reshape(rows.x.shape)
        # γ/σ (dy − dβ/M − x̂ dγ/M) = a dy + b x + c; in evaluation, a dy.
        a = ctx.gamma * ctx.scale
        b = -a * ctx.scale * dgamma / rows.count
        c = rows.wide(-a * dbeta / rows.count - b * ctx.mean)
        a, b = rows.wide(a), rows.wide(b)

        def work(some):
            np.multiply(upstream.x[some], a, out=out[some])
            if ctx.training:
                part = np.multiply(rows.x[some], b, out=parallel.scratch("centred", rows.x[some].shape, dy.dtype))
                part += c
                out[some] += part

        parallel.run(work, rows.chunks)
        return dx, dgamma, dbeta


class _Rows:
    """An image batch as rows of W C values (C alone, NumPy's inner loop is short), and its chunks."""

    def __init__(self, x):
        self.channels = x.shape[-1]
        self.repeat = x.shape[-2] if x.ndim == 4 else 1
        self.count = x.size // self.channels
        self.x = np.ascontiguousarray(x).reshape(-1, self.repeat * self.channels)
        self.chunks = parallel.chunks(len(self.x), ARRAYS * self.x.shape[1] * x.itemsize)

    def wide(self, vector):
        """Repeat a vector (C,) for every pixel of a row."""
        return np.tile(vector, self.repeat)

    def fold(self, wide):
        """Sum the pixels of a row."""
        return wide.reshape(self.repeat, self.channels).sum(axis=0)

    def sum(self, some):
        """Sum some rows, by a matrix product: BLAS does that four times faster than `sum`."""
        x = self.x[some]
        return self.fold(np.ones(len(x), x.dtype) @ x)


def _mean_and_variance(rows):
    """Put the means and the sums of squares about them of all chunks together (Chan, Golub, LeVeque, 1983)."""

    def work(some):
        x = rows.x[some]
        count = len(x) * rows.repeat
        mean = rows.sum(some) / count
        centred = np.subtract(x, rows.wide(mean), out=parallel.scratch("centred", x.shape, x.dtype))
        return count, mean, rows.fold(np.einsum("mc,mc->c", centred, centred))

    counts, means, squares = (np.array(part, np.float64) for part in zip(*parallel.run(work, rows.chunks)))
    mean = counts @ means / rows.count
    return mean, (squares.sum(axis=0) + counts @ (means - mean) ** 2) / rows.count
