"""Matrix products in pieces of a size that suits BLAS."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

# OpenBLAS multiplies matrices with M N K <= 10⁶ in place, and copies larger matrices into its own order first. The
# copy does not pay for tall and narrow ones: 78 against 49 GFLOP/s for (M, 36) @ (36, 12), 108 against 93 for
# (M, 64) @ (64, 64). NumPy's stacked product walks through the pieces without returning to Python.
SMALL = 1_000_000


def multiply(a: npt.NDArray[Any], b: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compute out = a @ b, with (..., M, K) @ (..., K, N), in pieces of some rows."""
    *stack, m, k = a.shape
    n = b.shape[-1]
    rows = _piece(m, k * n)
    np.matmul(
        a.reshape(*stack, -1, rows, k),
        b[..., None, :, :],
        out=out.reshape(*stack, -1, rows, n),
    )
    return out


def transposed_multiply(
    a: npt.NDArray[Any], b: npt.NDArray[Any], out: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    """Compute out = aᵀ @ b, with (..., M, K) and (..., M, N), as a sum over pieces of some rows."""
    *stack, m, k = a.shape
    n = b.shape[-1]
    rows = _piece(m, k * n)
    if rows == m:
        return np.matmul(a.swapaxes(-1, -2), b, out=out)
    pieces = np.matmul(a.reshape(*stack, -1, rows, k).swapaxes(-1, -2), b.reshape(*b.shape[:-2], -1, rows, n))
    return pieces.sum(axis=-3, out=out)


@functools.cache
def _piece(m, rest):
    """Return the largest divisor of m that makes a small product, or m if the pieces would be too short."""
    most = SMALL // rest
    if m <= most:
        return m
    divisor = next(d for d in range(max(1, most), 0, -1) if m % d == 0)
    return divisor if divisor >= 16 else m
