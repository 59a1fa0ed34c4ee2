"""The input of the machine in `program`: instructions, and constants in its layout, made by NumPy alone.

An instruction is a row of integers: an operation (`CONV` … `AVERAGE`), the places in memory to read and to write,
shapes, and the places of the instruction's own constants among all constants.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

LANES = (
    8  # outputs counted at once: with four windows 8 registers of AVX2; 16 outputs spill, and take a sixth longer
)
CONV, STEPS, COUNT, SUMS, VALUES, NORM, RELU, ADD, COPY, REPEAT, AVERAGE = range(11)


class Instruction(NamedTuple):
    """One step of the machine; each kind of instruction uses the numbers that it needs.

    Attributes
    ----------
    kind : int
    source, target, length : int
        Places in memory, of bits or floats, and the number of floats.
    height, width, channels, border : int
        Shape of the input; bits have a border.
    kernel_height, kernel_width, stride, padding : int
    out_height, out_width, outputs, padded, out_border : int
        `padded` is `outputs` rounded up to a multiple of 8.
    steps, copies, pool : int
        Steps of an output value; number of repetitions of the channels; 1, or 2 for the largest of 2×2 sums.
    planes : int
        Steps of an input value.
    words, limits, floats, more : int
        First places of constants among words, whole numbers, floats, and other floats or words.
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
    """Return the arguments of `program` between images and output, read-only arrays, so of one type for numba.

    Parameters
    ----------
    code : iterable of Instruction
    words, limits, floats : iterable of numpy.ndarray
        Constants, to be joined one behind the other.
    memory : iterable of int
        See `program`.

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
    """Return the number of words of a row of pixels, and one more that may be read behind the last.

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
    """Fill up channels to a multiple of 8.

    Parameters
    ----------
    rows : numpy.ndarray
        (K, copies C)
    copies : int
    fill : number

    Returns
    -------
    numpy.ndarray
        (K, copies, C rounded up to a multiple of 8)

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
    """Lay out the signs of a product as words, with 8 outputs side by side and the first row in the lowest bit.

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
