"""Fast versions of ops on a GPU: CUDA kernels, compiled by CuPy at first use, that no caller waits for.

A kernel is a few lines in a .cu file here, the Python beside it a twin of a plain op (`duonet.engine`). Sums run
in a fixed order, without atomics: the same input gives the same bits. Multiplications and additions are not
contracted (`--fmad=false`), so that a kernel rounds as the formula in NumPy does. Only float32 numbers below
1.2e-38 differ: CuPy compiles everything with `-ftz=true`, which takes them for zero.
"""

from duonet.gpu import conv, loss, normalization, optim, pooling, quantize

__all__ = ["conv", "loss", "normalization", "optim", "pooling", "quantize"]
