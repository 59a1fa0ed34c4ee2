"""Products of signs and steps, by counting 64 bits at a time.

With a weight s of 0 or 1 for −1 or +1 and an activation b of 0 or 1, Σ ±b = 2 popcount(s & b) − popcount(b). An
activation of K steps is K activations of one step each; wherever the second is 1, the first is 1 as well.
"""

import numpy as np
import numpy.typing as npt

from duonet import parallel

BLOCK = 1 << 15  # counters at once: they stay in cache
ADDED = 3  # counts of so many words fit one byte: 3 · 64 < 256


def words(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Put the last axis of an array of bool into words of 64 bits, the first bit lowest, and zeros after the last.

    Parameters
    ----------
    bits : numpy.ndarray
        (..., C)

    Returns
    -------
    numpy.ndarray
        (..., ⌈C / 64⌉) uint64

    Examples
    --------
    >>> words(np.array([[True, False, True]]))
    array([[5]], dtype=uint64)
    """
    short = -bits.shape[-1] % 64
    if short:
        bits = np.concatenate([bits, np.zeros((*bits.shape[:-1], short), bool)], axis=-1)
    packed = np.packbits(np.ascontiguousarray(bits), axis=-1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def planes(steps: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.bool_]:
    """Split values of `count` steps into channels of one step each: (..., C) to (..., count C).

    Parameters
    ----------
    steps : numpy.ndarray
    count : int

    Returns
    -------
    numpy.ndarray
        All channels of the first step, then all of the second.

    Examples
    --------
    >>> planes(np.array([[0, 1, 2]], np.uint8), 2).astype(int)
    array([[0, 1, 1, 0, 0, 1]])
    """
    return np.concatenate([steps >= step for step in range(1, count + 1)], axis=-1)


def signed_counts(rows: npt.NDArray[np.uint64], signs: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """Count 2 popcount(s & b) − popcount(b) for every row b and every column s of signs.

    Parameters
    ----------
    rows : numpy.ndarray
        (M, K) words.
    signs : numpy.ndarray
        (K, OC) words.

    Returns
    -------
    numpy.ndarray
        (M, OC)

    Examples
    --------
    >>> signed_counts(np.array([[0b011]], np.uint64), np.array([[0b001, 0b011]], np.uint64))
    array([[0, 2]], dtype=int32)
    """
    outputs = signs.shape[1]
    if len(rows) * signs.size <= BLOCK:  # few rows: all words at once
        ones = np.bitwise_count(rows[:, :, None] & signs).sum(axis=1, dtype=np.int32)
        return 2 * ones - np.bitwise_count(rows).sum(axis=1, dtype=np.int32)[:, None]
    counts = np.zeros((len(rows), outputs), np.int32)
    step = max(1, BLOCK // outputs)
    for start in range(0, len(rows), step):
        some, total = rows[start : start + step], counts[start : start + step]
        both = parallel.scratch((len(some), outputs), np.uint64)
        count, part = (parallel.scratch(both.shape, np.uint8) for _ in range(2))
        for k in range(len(signs)):
            np.bitwise_and(some[:, k, None], signs[k], out=both)
            np.bitwise_count(both, out=count)
            if k % ADDED:
                part += count
            else:
                part, count = count, part
            if k % ADDED == ADDED - 1 or k == len(signs) - 1:
                total += part
        total *= 2
        total -= np.bitwise_count(some).sum(axis=1, dtype=np.int32)[:, None]
    return counts


def windows(
    x: npt.NDArray[np.uint64], kh: int, kw: int, stride: int, padding: int
) -> tuple[npt.NDArray[np.uint64], int, int]:
    """Lay the windows of images of words out as rows.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, words)
    kh, kw, stride, padding : int

    Returns
    -------
    rows : numpy.ndarray
        (N OH OW, KH KW words)
    oh, ow : int

    Examples
    --------
    >>> windows(np.array([[[[1], [2]]]], np.uint64), 1, 2, 1, 0)[0]
    array([[1, 2]], dtype=uint64)
    """
    n, h, w, depth = x.shape
    padded = np.zeros((n, h + 2 * padding, w + 2 * padding, depth), x.dtype)
    padded[:, padding : padding + h, padding : padding + w] = x
    oh, ow = (padded.shape[1] - kh) // stride + 1, (padded.shape[2] - kw) // stride + 1
    image, row, pixel, word = padded.strides
    shape = n, oh, ow, kh, kw * depth
    view = np.ndarray(shape, x.dtype, padded, 0, (image, stride * row, stride * pixel, row, word))
    return view.reshape(n * oh * ow, kh * kw * depth), oh, ow
