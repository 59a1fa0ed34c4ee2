"""Activations as rows of bits, for the compiled kernels; without numba nobody makes any."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import engine
from duonet.compiled import why_not
from duonet.inference.layers import Steps

Array = npt.NDArray[Any]


class Bits(NamedTuple):
    """Steps as bits: rows of pixels, each its channels, once for every step, with a border of zeros.

    Attributes
    ----------
    rows : numpy.ndarray
        (N, H + 2 border, words) uint64
    shape : tuple of int
        (H, W, C) of an image.
    border : int
    levels : tuple of float
    flat : bool
        Whether an image is to be read as one row of numbers.
    """

    rows: npt.NDArray[np.uint64]
    shape: tuple[int, int, int]
    border: int
    levels: tuple[float, ...]
    flat: bool = False

    def steps(self) -> Steps:
        """Return the same as one byte a value.

        Returns
        -------
        Steps
        """
        (h, w, c), b, planes = self.shape, self.border, len(self.levels) - 1
        bits = np.unpackbits(self.rows.astype("<u8", copy=False).view(np.uint8), axis=-1, bitorder="little")
        inside = bits[:, b : b + h, b * c * planes : (b + w) * c * planes].reshape(-1, h, w, planes, c)
        counts = inside[:, :, :, 0] if planes == 1 else inside.sum(axis=3, dtype=np.uint8)
        return Steps(counts.reshape(len(counts), -1) if self.flat else counts, self.levels)


def kernels() -> ModuleType | None:
    """Return the module of compiled kernels, or None where they cannot be, or the plain ops are asked for.

    Returns
    -------
    module or None
    """
    return _kernels() if engine.allowed("compiled") else None


@functools.cache
def _kernels() -> ModuleType | None:
    if why_not():
        return None
    try:
        from duonet.compiled import popcount
    except Exception:  # a numba that compiles nothing here is none: `duonet --version` says why
        return None
    return popcount


def empty(images: int, shape: tuple[int, int, int], border: int, planes: int) -> npt.NDArray[np.uint64]:
    """Return rows of zeros, with room for a word behind the last.

    Parameters
    ----------
    images : int
    shape : tuple of int
        (H, W, C)
    border, planes : int

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> empty(2, (4, 4, 64), 1, 1).shape
    (2, 6, 8)
    """
    h, w, c = shape
    return np.zeros((images, h + 2 * border, (w + 2 * border) * c * planes // 64 + 2), np.uint64)


def as_bits(x: Steps, border: int) -> Bits:
    """Lay steps out as rows of bits.

    Parameters
    ----------
    x : Steps
        (N, H, W, C), or (N, C) as images of one pixel.
    border : int

    Returns
    -------
    Bits
    """
    popcount = kernels()
    assert popcount is not None
    counts = x.counts if x.counts.ndim == 4 else x.counts.reshape(len(x.counts), 1, 1, -1)
    n, h, w, c = counts.shape
    planes = len(x.levels) - 1
    rows = empty(n, (h, w, c), border, planes)
    _share(popcount.steps_to_bits, n * h, counts.size / 64, np.ascontiguousarray(counts), planes, border, rows)
    return Bits(rows, (h, w, c), border, x.levels, x.counts.ndim == 2)


class Counter:
    """A product of signs made ready for the kernels.

    Parameters
    ----------
    signs : numpy.ndarray
        (KH, KW, C, OC) or (IN, OUT) of bool.
    planes, factor : int
        Steps of an input value, and units in one of them.
    stride, padding : int
    limits, falls : numpy.ndarray or None
        (K, channels) thresholds in units, and (channels,).
    pooled : bool
        Whether the largest of 2×2 sums is taken.
    """

    def __init__(
        self, signs: Array, planes: int, factor: int, stride: int, padding: int, limits: Array | None,
        falls: Array | None, pooled: bool,
    ) -> None:  # fmt: skip
        self.signs, self.planes, self.factor, self.stride, self.padding = signs, planes, factor, stride, padding
        self.pooled, self.falls = pooled, falls
        self.limits = None if limits is None else -(-limits.astype(np.int64) // factor)
        self._words: dict[tuple[int, ...], Array] = {}

    def words(self, kernel: tuple[int, ...]) -> Array:
        """Return the signs of every output in words, for a kernel of a shape (KH, KW, C): (words, outputs).

        Parameters
        ----------
        kernel : tuple of int

        Returns
        -------
        numpy.ndarray
            uint64, outputs up to a multiple of 16.
        """
        if kernel not in self._words:
            popcount = kernels()
            assert popcount is not None
            signs = self.signs.reshape(*kernel, -1)
            dense = np.concatenate([signs] * self.planes, axis=2).reshape(-1, signs.shape[-1])
            rows, outputs = dense.shape
            padded = np.zeros((-(-rows // 64) * 64, -(-outputs // popcount.LANES) * popcount.LANES), bool)
            padded[:rows, :outputs] = dense
            packed = np.packbits(np.ascontiguousarray(padded.T), axis=-1, bitorder="little").view("<u8")
            self._words[kernel] = np.ascontiguousarray(packed.T.astype(np.uint64))
        return self._words[kernel]

    def run(self, x: Steps | Bits, border: int, out_levels: tuple[float, ...]) -> Bits | Array:
        """Count: to bits where there are thresholds, else to sums (N, OH, OW, OC) in float32.

        Parameters
        ----------
        x : Steps or Bits
        border : int
            That the next layer reads around its input.
        out_levels : tuple of float

        Returns
        -------
        Bits or numpy.ndarray
        """
        popcount = kernels()
        assert popcount is not None
        if isinstance(x, Bits) and x.border != (self.padding if self.signs.ndim == 4 else 0):
            x = x.steps()
        if isinstance(x, Steps):
            x = as_bits(x, self.padding if self.signs.ndim == 4 else 0)
        h, w, c = x.shape
        n = len(x.rows)
        kh, kw = self.signs.shape[:2] if self.signs.ndim == 4 else (h, w)
        words = self.words((kh, kw, c))
        oh, ow = ((size + 2 * x.border - k) // self.stride + 1 for size, k in ((h, kh), (w, kw)))
        depth, outputs = c * self.planes, self.signs.shape[-1]
        work = n * oh * ow * words.size / 16
        window = kh, kw * depth, self.stride * depth, self.stride
        if self.limits is None:
            sums = np.empty((n, oh, ow, outputs), np.float32)
            _share(popcount.bits_to_sums, n * oh, work, x.rows, words, *window, sums)
            return sums
        if self.pooled:
            oh, ow = oh // 2, ow // 2
        steps, channels = self.limits.shape
        rows = empty(n, (oh, ow, channels), border, steps)
        _share(
            popcount.bits_to_bits, n * oh, work, x.rows, words, outputs, self.limits, self.falls, *window,
            2 if self.pooled else 1, border, ow, rows,
        )  # fmt: skip
        return Bits(rows, (oh, ow, channels), border, out_levels, self.signs.ndim == 2)


def _share(kernel: Any, tasks: int, work: float, *values: Any) -> None:
    from duonet.compiled.running import share

    share(kernel, math.ceil(tasks), work, *values)
