"""Winograd's minimal filtering F(2×2, 3×3): 16 multiplications instead of a 3×3 convolution's 36.

A tile of 2×2 outputs depends on a tile d of 4×4 inputs: y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A, summed over the channels
inside the bracket, so that the bracket is 16 matrix products. The matrices hold 0, ±½ and ±1. If inputs and
weights are small multiples of powers of two, nothing is rounded; otherwise errors are like a plain sum's.

References
----------
Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import parallel
from duonet.fast.products import multiply

KERNELS = 2048  # C OC; with fewer, the transforms cost more than the products save
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def suits(w_shape: tuple[int, ...], stride: int, oh: int, ow: int) -> bool:
    """Return whether this way is faster for kernels (3, 3, C, OC) and outputs of OH×OW pixels."""
    kh, kw, c, oc = w_shape
    return kh == kw == 3 and stride == 1 and oh % 2 == ow % 2 == 0 and min(c, oc) >= 32 and c * oc >= KERNELS


def correlate(x: npt.NDArray[Any], w: npt.NDArray[Any], pad_h: int, pad_w: int) -> npt.NDArray[Any]:
    """Compute y = x ∗ w, stride 1, for (N, H, W, C) images and (3, 3, C, OC) kernels."""
    c, oc = w.shape[2:]
    n, th, tw = len(x), x.shape[1] // 2 + pad_h - 1, x.shape[2] // 2 + pad_w - 1
    y = np.empty((n, 2 * th, 2 * tw, oc), x.dtype)
    kernels = (np.kron(G, G).astype(x.dtype) @ w.reshape(9, -1)).reshape(16, c, oc)

    def work(images):
        tiles = (images.stop - images.start) * th * tw
        products = parallel.scratch((4, 4, tiles, oc), x.dtype)
        multiply(_inputs(x[images], pad_h, pad_w, th, tw), kernels, products.reshape(16, tiles, oc))
        rows = parallel.scratch((4, tiles, oc), x.dtype)
        part = parallel.scratch((tiles, oc), x.dtype)
        out = y[images].reshape(-1, th, 2, tw, 2, oc)
        for i in (0, 1):  # the row of the tile: p0 + p1 + p2 and p1 − p2 − p3, then the same along the columns
            first, second, third = products[i : i + 3]
            (np.subtract if i else np.add)(first, second, out=rows)
            (np.subtract if i else np.add)(rows, third, out=rows)
            np.add(rows[0], rows[1], out=part)
            np.add(_tiled(part, out), _tiled(rows[2], out), out=out[:, :, i, :, 0])
            np.subtract(rows[1], rows[2], out=part)
            np.subtract(_tiled(part, out), _tiled(rows[3], out), out=out[:, :, i, :, 1])

    parallel.run(work, _chunks(n, th * tw, max(c, oc), x.itemsize), least=2)
    return y


def weight_gradient_factors(
    x: npt.NDArray[Any], dy: npt.NDArray[Any], padding: int
) -> tuple[list[slice], Callable[..., Any]]:
    """Return chunks, and the function from a chunk of images to A dy Aᵀ (16, T, OC) and Bᵀ d B (16, T, C).

    The sum of their products is d(G w Gᵀ), transposed; `from_transformed` turns the sum into dw.
    """
    n, oh, ow, oc = dy.shape
    th, tw, c = oh // 2, ow // 2, x.shape[-1]

    def factors(images):
        tiles = (images.stop - images.start) * th * tw
        inputs = _inputs(x[images], padding, padding, th, tw)
        rows = parallel.scratch((4, len(dy[images]), th, ow, oc), dy.dtype)
        upper, lower = dy[images, 0::2], dy[images, 1::2]
        np.copyto(rows[0], upper)
        np.add(upper, lower, out=rows[1])
        np.subtract(upper, lower, out=rows[2])
        np.negative(lower, out=rows[3])
        pairs = rows.reshape(4, tiles, 2, oc)
        outputs = parallel.scratch((4, 4, tiles, oc), dy.dtype)
        left, right = pairs[:, :, 0], pairs[:, :, 1]
        np.copyto(outputs[:, 0], left)
        np.add(left, right, out=outputs[:, 1])
        np.subtract(left, right, out=outputs[:, 2])
        np.negative(right, out=outputs[:, 3])
        return outputs.reshape(16, tiles, oc), inputs

    return _chunks(n, th * tw, max(c, oc), x.itemsize), factors


def from_transformed(total: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn d(G w Gᵀ), transposed and laid out as (16, OC, C), into dw (3, 3, C, OC)."""
    _, oc, c = total.shape
    kernels = (np.kron(G, G).T.astype(total.dtype) @ total.reshape(16, -1)).reshape(3, 3, oc, c)
    return np.ascontiguousarray(kernels.swapaxes(2, 3))


def _inputs(x, pad_h, pad_w, th, tw):
    """Transform all 4×4 tiles d of some images to Bᵀ d B: (16, tiles, C)."""
    n, h, w, c = x.shape
    # Even and odd columns apart: the sums below then read contiguous memory.
    columns = parallel.scratch((2, n, 2 * th + 2, tw + 1, c), x.dtype)
    columns[...] = 0
    for parity in (0, 1):
        start = (parity - pad_w) % 2  # the first pixel in a column of this parity
        pixels = x[:, :, start::2]
        first = (start + pad_w) // 2
        columns[parity, :, pad_h : pad_h + h, first : first + pixels.shape[2]] = pixels
    rows = parallel.scratch((4, 2, n, th, tw + 1, c), x.dtype)
    out = parallel.scratch((4, 4, n, th, tw, c), x.dtype)
    _transform([columns[:, :, i : i + 2 * th : 2] for i in range(4)], rows)
    even, odd = rows[:, 0], rows[:, 1]
    _transform([even[:, :, :, :-1], odd[:, :, :, :-1], even[:, :, :, 1:], odd[:, :, :, 1:]], out.swapaxes(0, 1))
    return out.reshape(16, -1, c)


def _transform(d, out):
    """Multiply by Bᵀ: d0 − d2, d1 + d2, d2 − d1, d1 − d3."""
    np.subtract(d[0], d[2], out=out[0])
    np.add(d[1], d[2], out=out[1])
    np.subtract(d[2], d[1], out=out[2])
    np.subtract(d[1], d[3], out=out[3])


def _tiled(rows, out):
    return rows.reshape(out.shape[0], out.shape[1], out.shape[3], out.shape[5])


def _chunks(n, tiles_each, channels, itemsize):
    """Cut the batch so that the 16 transformed inputs stay in cache."""
    return parallel.chunks(n, 16 * tiles_each * channels * itemsize)
