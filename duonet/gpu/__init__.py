"""Fast versions of ops on a GPU: CUDA kernels, which CuPy compiles at first use, and for which no caller waits.

A kernel is a few lines in a .cu file here. The Python beside it is a twin of a plain op (`duonet.engine`). Sums
run in a fixed order, without atomics: the same input gives the same bits. Multiplications and additions are not
contracted (`--fmad=false`), so that a kernel rounds like the formula in NumPy. Only float32 numbers below 1.2e-38
differ: CuPy compiles everything with `-ftz=true`, which makes them zero.
"""

from duonet.gpu import conv, loss, normalization, optim, pooling, quantize

__all__ = ["conv", "loss", "normalization", "optim", "pooling", "quantize"]
