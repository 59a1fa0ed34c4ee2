"""Elementwise ops, a chunk at a time on all cores."""

import numpy as np

from duonet import engine, exact, parallel
from duonet.functional import activation, arithmetic
from duonet.quant import activation as quant


@engine.twin("cpu")
class ReLU(activation.ReLU):
    """The plain op."""

    @staticmethod
    def suits(x):
        return x.ndim > 0

    @staticmethod
    def forward(ctx, x):
        ctx.mask = np.empty(x.shape, bool)
        y = np.empty(x.shape, x.dtype)

        def work(some):
            np.greater(x[some], 0, out=ctx.mask[some])
            np.maximum(x[some], 0, out=y[some])

        parallel.run(work, _chunks(x))
        return y

    @staticmethod
    def backward(ctx, dy):
        return _chain(dy, ctx.mask)


@engine.twin("cpu")
class Add(arithmetic.Add):
    """The plain op, for operands of one shape."""

    @staticmethod
    def suits(a, b):
        return a.shape == b.shape and a.ndim > 0

    @staticmethod
    def forward(ctx, a, b):
        y = np.empty(a.shape, a.dtype)
        parallel.run(lambda some: np.add(a[some], b[some], out=y[some]), _chunks(a))
        return y


@engine.twin("cpu")
class Quantize(quant.Quantize):
    """The plain op."""

    @staticmethod
    def suits(x, **options):
        return x.ndim > 1  # chunks are cut along the first axis; with one axis it would be the channels'

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        y = np.empty(x.shape, x.dtype)
        ctx.slope = np.empty(x.shape, surrogate.derivative(x[:0]).dtype) if ctx.needs[0] else None

        def work(some):
            y[some] = staircase(x[some])
            if ctx.needs[0]:
                ctx.slope[some] = surrogate.derivative(x[some])

        parallel.run(work, _chunks(x))
        return y

    @staticmethod
    def backward(ctx, dy):
        return _chain(dy, ctx.slope)


def _chain(dy, slope):
    dx = np.empty(dy.shape, dy.dtype)
    parallel.run(lambda some: exact.chain(dy[some], slope[some], out=dx[some]), _chunks(dy))
    return dx


def _chunks(x):
    return parallel.chunks(len(x), x[0].size * x.itemsize) if len(x) else [slice(0)]
