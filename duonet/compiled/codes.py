"""Activations of two or three levels as small numbers: four binary or three ternary activations in a byte.

Each value becomes a digit, the number of levels below it. Neighbouring digits d make one index Σ b^i d_i: with
b = 2 levels, four digits give 0 … 15 (a nibble); with b = 3 levels, three digits give 0 … 26. The staircase tells
its levels (`says_levels`), so no array is searched for them.
"""

import functools
from typing import NamedTuple

import numpy as np

from duonet import engine
from duonet.compiled.running import given, inlined, kernel, share
from duonet.quant.staircase import Staircase

TOGETHER = {2: 4, 3: 3}  # number of levels: digits in an index


class Code(NamedTuple):
    """The meaning of an array's digits.

    Attributes
    ----------
    levels : tuple of float
        The value of each digit, in rising order.

    Examples
    --------
    >>> code = Code((0.0, 0.5, 1.0))
    >>> code.base, code.together, code.rows
    (3, 3, 27)
    """

    levels: tuple

    @property
    def base(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def together(self) -> int:
        """Number of digits in an index."""
        return TOGETHER[self.base]

    @property
    def rows(self) -> int:
        """Number of different indices, and of the rows of a table."""
        return self.base**self.together

    @property
    def zero(self) -> int:
        """The index of zeros alone, if 0 is a level; else 0."""
        return self.levels.index(0.0) * (self.rows - 1) // (self.base - 1) if 0.0 in self.levels else 0


def says_levels(y: np.ndarray, staircase: Staircase) -> np.ndarray:
    """Attach to the output of a staircase its levels, if there are two or three.

    Parameters
    ----------
    y : numpy.ndarray
        The output, of any shape.
    staircase : Staircase
        A subclass with its own computation gets nothing attached.

    Returns
    -------
    numpy.ndarray
        `y`, read-only if levels were attached.

    Examples
    --------
    >>> from duonet.quant import Ternary
    >>> engine.known(says_levels(np.ones((1, 2), "float32"), Ternary()), "levels")
    (0.0, 0.5, 1.0)
    """
    known = isinstance(staircase, Staircase) and type(staircase).__call__ is Staircase.__call__
    if not known or y.ndim < 2:
        return y
    levels = tuple(float(np.float32(level)) for level in staircase.levels)
    return engine.attach(y, levels=levels) if len(levels) <= max(TOGETHER) else y


@functools.lru_cache(maxsize=64)
def _code(levels, bordered):
    found = tuple(sorted({*levels, *([0.0] if bordered else [])}))
    return Code(found) if len(found) in TOGETHER else None


def code_of(x: np.ndarray, bordered: bool) -> Code | None:
    """Return the code of an array by the levels that its op attached; None if it has no code.

    Parameters
    ----------
    x : numpy.ndarray
    bordered : bool
        Whether a border of zeros will surround it, so that 0 is a level as well.

    Returns
    -------
    Code or None

    Examples
    --------
    >>> x = engine.attach(np.ones(2, "float32"), levels=(-1.0, 1.0))
    >>> code_of(x, False).levels, code_of(x, True).levels, code_of(x[:1], False)
    ((-1.0, 1.0), (-1.0, 0.0, 1.0), None)
    """
    levels = engine.known(x, "levels")
    return _code(levels, bordered) if levels and x.dtype == np.float32 else None


def packed(x: np.ndarray, code: Code, padding: int = 0) -> np.ndarray:
    """Return the indices of neighbouring channels, with a border of zeros; the plain form is `plainly_packed`.

    They are computed from x, unless the op that made x has already attached them.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C), with values among the code's levels.
    code : Code
    padding : int
        Width of the border in pixels.

    Returns
    -------
    numpy.ndarray
        (N, H + 2 padding, W + 2 padding, ⌈C / together⌉), uint8; digits for channels that do not exist are 0.

    Examples
    --------
    >>> x = np.array([1, 0, 1, 1, 0, 1], "float32").reshape(1, 1, 1, 6)
    >>> packed(x, Code((0.0, 1.0)), padding=1).shape
    (1, 3, 3, 2)
    """
    n, h, w, c = x.shape
    groups = -(-c // code.together)
    out = np.empty((n, h + 2 * padding, w + 2 * padding, groups), np.uint8)
    if padding:
        out[:, :padding] = out[:, padding + h :] = code.zero
        out[:, :, :padding] = out[:, :, padding + w :] = code.zero
    if (ready := engine.known(x, "indices")) is not None and engine.known(x, "levels") == code.levels:
        out[:, padding : padding + h, padding : padding + w] = ready
        return out
    steps = np.array([*code.levels[1:], np.nan][:2], np.float32)  # no value reaches a NaN
    share(_pack, n * h, x.size / 16, given(x), steps, code.together, padding, out)
    return out


def plainly_packed(x: np.ndarray, code: Code, padding: int = 0) -> np.ndarray:
    """Compute the result of `packed` in plain NumPy, for readers.

    Parameters
    ----------
    x, code, padding
        As in `packed`.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> x = np.array([1, 0, 1, 1, 0, 1], "float32").reshape(1, 1, 1, 6)
    >>> plainly_packed(x, Code((0.0, 1.0))).ravel()  # 1 + 4 + 8, and 2
    array([13,  2], dtype=uint8)
    """
    n, h, w, c = x.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    digits = np.searchsorted(np.array(code.levels, x.dtype), x)
    digits = np.pad(digits, ((0, 0), (0, 0), (0, 0), (0, -c % code.together)))
    weights = code.base ** np.arange(code.together)
    return (digits.reshape(*digits.shape[:3], -1, code.together) @ weights).astype(np.uint8)


@inlined
def gather(digits: np.ndarray, together: int, out: np.ndarray) -> None:
    """Write to `out` an index for every four binary or three ternary digits side by side, of uint8 `digits`."""
    if together == 4:
        words = digits.view(np.uint32)  # the top byte of the product is d0 + 2 d1 + 4 d2 + 8 d3
        for i in range(out.size):
            out[i] = np.uint8((words[i] * np.uint32(0x01020408)) >> np.uint32(24))
    else:
        for i in range(out.size):
            out[i] = digits[3 * i] + np.uint8(3) * digits[3 * i + 1] + np.uint8(9) * digits[3 * i + 2]


@kernel
def _pack(start, stop, x, steps, together, padding, out):
    n, h, w, c = x.shape
    groups = out.shape[3]
    low, high = steps
    digits = np.zeros((w, groups * together), np.uint8)
    flat, into = digits.reshape(-1), out.reshape(-1)
    for t in range(start, stop):
        image, row = divmod(t, h)
        if groups * together == c:
            values = x[image, row].reshape(-1)
            for i in range(w * c):
                flat[i] = np.uint8(values[i] >= low) + np.uint8(values[i] >= high)
        else:
            for q in range(w):
                for i in range(c):
                    digits[q, i] = np.uint8(x[image, row, q, i] >= low) + np.uint8(x[image, row, q, i] >= high)
        at = ((image * out.shape[1] + row + padding) * out.shape[2] + padding) * groups
        gather(flat, together, into[at : at + w * groups])
