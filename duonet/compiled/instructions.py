"""What the machine of `program` reads: instructions, and constants laid out for it, made by NumPy alone.

An instruction is a row of integers: what to do (`CONV` … `AVERAGE`), where in memory to read and write, shapes,
and where among all constants its own lie.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

LANES = (
    8  # outputs counted at once: with four windows 8 registers of AVX2; 16 outputs spill, and take a sixth longer
)
CONV, STEPS, COUNT, SUMS, VALUES, NORM, RELU, ADD, COPY, REPEAT, AVERAGE = range(11)


class Instruction(NamedTuple):
    """What the machine does once; each number is there for the kinds of instruction that need it.

    Attributes
    ----------
    kind : int
    source, target, length : int
        Places in memory, of bits or floats, and how many floats there are.
    height, width, channels, border : int
        Of what is read; the border of what has bits.
    kernel_height, kernel_width, stride, padding : int
    out_height, out_width, outputs, padded, out_border : int
        `padded` is `outputs` up to a multiple of 8.
    steps, copies, pool : int
        Steps of a value that is written; how often channels are repeated; 1, or 2 for the largest of 2×2 sums.
    planes : int
        Steps of a value that is read.
    words, limits, floats, more : int
        Where constants begin among words, whole numbers, floats, and other floats or words.
    """

    kind: int
    source: int
    target: int
    length: int = 0
    height: int = 1
    width: int = 1
    channels: int = 0
    border: int = 0
    kernel_height: int = 1
    kernel_width: int = 1
    stride: int = 1
    padding: int = 0
    out_height: int = 1
    out_width: int = 1
    outputs: int = 0
    padded: int = 0
    out_border: int = 0
    steps: int = 1
    copies: int = 1
    pool: int = 1
    planes: int = 1
    words: int = 0
    limits: int = 0
    floats: int = 0
    more: int = 0


DTYPE = np.dtype([(name, np.int64) for name in Instruction._fields])


def constants(
    code: Iterable[Instruction], words: Iterable[np.ndarray], limits: Iterable[np.ndarray],
    floats: Iterable[np.ndarray], memory: Iterable[int],
) -> list[np.ndarray]:  # fmt: skip
    """Return what `program` is given between images and output, all of it read-only: one type to numba.

    Parameters
    ----------
    code : iterable of Instruction
    words, limits, floats : iterable of numpy.ndarray
        Constants, one behind the other.
    memory : iterable of int

    Returns
    -------
    list of numpy.ndarray
    """
    parts = zip((words, limits, floats), (np.uint64, np.int64, np.float32))
    arrays = [
        np.array([tuple(instruction) for instruction in code], DTYPE),
        *(np.concatenate([np.ravel(part) for part in some]).astype(kind, copy=False) for some, kind in parts),
        np.array(list(memory)),
    ]
    for array in arrays:
        array.flags.writeable = False
    return arrays


def line(width: int, channels: int, border: int, planes: int) -> int:
    """Return how many words a row of pixels takes, with one behind the last that may be read.

    Parameters
    ----------
    width, channels, border, planes : int

    Returns
    -------
    int

    Examples
    --------
    >>> line(4, 64, 1, 1)
    8
    """
    return (width + 2 * border) * channels * planes // 64 + 2


def padded(rows: np.ndarray, copies: int, fill: Any) -> np.ndarray:
    """Fill up channels to a multiple of 8: (K, copies C) to (K, copies, C up to a multiple of 8).

    Parameters
    ----------
    rows : numpy.ndarray
    copies : int
    fill : number

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> padded(np.ones((1, 4), int), 2, 0)
    array([[[1, 1, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0, 0, 0]]])
    """
    each = rows.reshape(len(rows), copies, -1)
    room = np.full((*each.shape[:2], -(-each.shape[2] // LANES) * LANES), fill, rows.dtype)
    room[:, :, : each.shape[2]] = each
    return room


def words(signs: np.ndarray) -> np.ndarray:
    """Lay out the signs of a product, those of 8 outputs side by side, the first row lowest.

    Parameters
    ----------
    signs : numpy.ndarray
        (K, outputs) bool

    Returns
    -------
    numpy.ndarray
        (⌈outputs / 8⌉, ⌈K / 64⌉, 8) uint64

    Examples
    --------
    >>> words(np.array([[True], [False], [True]])).ravel()
    array([5, 0, 0, 0, 0, 0, 0, 0], dtype=uint64)
    """
    rows, outputs = signs.shape
    count, blocks = -(-rows // 64), -(-outputs // LANES)
    room = np.zeros((64 * count, LANES * blocks), bool)
    room[:rows, :outputs] = signs
    bytes_ = np.packbits(room, axis=0, bitorder="little").reshape(count, 8, blocks, LANES)
    return np.ascontiguousarray(bytes_.transpose(2, 0, 3, 1)).view("<u8")[..., 0].astype(np.uint64)
