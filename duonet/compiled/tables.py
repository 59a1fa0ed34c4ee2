"""Tables of all sums of a few rows: how one look-up does the work of four multiplications and additions.

A row of bits times a matrix is the sum of some of the matrix's rows. Take the bits four at a time. Rows w0, w1,
w2, w3 have only 16 possible sums, and the four bits, read as a number from 0 to 15, select one of them:

    index   0000  0001  0010  0011     0100  …  1101          1111
    sum     0     w0    w1    w0 + w1  w2    …  w0 + w2 + w3  w0 + w1 + w2 + w3

For the bits 1, 0, 1, 1 (the first is the lowest) the product is 1·w0 + 0·w1 + 1·w2 + 1·w3: four multiplications
and additions of rows, or a single addition of row 13 = 1 + 4 + 8 of the table. A table takes 15 additions to fill,
and serves all windows of the images. Three-valued digits are taken three at a time, in a table of 27 rows. This is
known as the method of four Russians.

References
----------
Arlazarov, Dinic, Kronrod, Faradzhev: On economical construction of the transitive closure of a graph, 1970.
"""

from typing import Any

import numpy as np

from duonet.compiled.codes import Code
from duonet.compiled.rows import fma, lanes_of, load_as, store
from duonet.compiled.running import inlined


def table(rows: np.ndarray, code: Code) -> np.ndarray:
    """Return the sums of `code.together` rows for every index, in plain NumPy, for readers.

    Parameters
    ----------
    rows : numpy.ndarray
        (together, M)
    code : Code

    Returns
    -------
    numpy.ndarray
        (code.rows, M)

    Examples
    --------
    >>> w = np.array([[1.0], [10.0], [100.0], [1000.0]])
    >>> table(w, Code((0.0, 1.0)))[[0b0011, 0b1101]].ravel()
    array([  11., 1101.])
    """
    sums = np.zeros((1, rows.shape[1]), rows.dtype)
    for row in rows:  # the new digit is the highest: first all sums with digit 0, then with digit 1, ...
        sums = np.concatenate([sums + level * row for level in code.levels])
    return sums


def product(indices: np.ndarray, w: np.ndarray, code: Code) -> np.ndarray:
    """Multiply coded rows by a matrix with look-ups, as the kernels do, in plain NumPy, for readers.

    Parameters
    ----------
    indices : numpy.ndarray
        (N, ⌈K / together⌉), the code of rows (N, K).
    w : numpy.ndarray
        (K, M)
    code : Code

    Returns
    -------
    numpy.ndarray
        (N, M)

    Examples
    --------
    >>> x = np.array([[1.0, 0.0, 1.0, 1.0]])
    >>> w = np.array([[1.0], [10.0], [100.0], [1000.0]])
    >>> product(np.array([[13]]), w, Code((0.0, 1.0))), x @ w
    (array([[1101.]]), array([[1101.]]))
    """
    w = np.concatenate([w, np.zeros((-len(w) % code.together, w.shape[1]), w.dtype)])
    y = np.zeros((len(indices), w.shape[1]), w.dtype)
    for j, column in enumerate(indices.T):
        y += table(w[j * code.together :][: code.together], code)[column]
    return y


@inlined
def grow(tables: np.ndarray, at: int, filled: int, levels: np.ndarray, row: Any) -> None:
    """Add one more digit to a table that has `filled` rows: levels[d] times `row` for the digit d."""
    lanes = lanes_of(row)
    for d in range(levels.size - 1, -1, -1):  # d = 0 last: it changes the rows from which the others begin
        if d > 0 or levels[d] != 0:
            for r in range(filled):
                begun = load_as(tables, at + r * lanes, row)
                store(tables, at + (d * filled + r) * lanes, fma(levels[d], row, begun))


@inlined
def spread(indices: np.ndarray, digits: np.ndarray, out: np.ndarray) -> None:
    """Write to `out` the digits of some indices, one behind another; `digits` has those of every index."""
    together = digits.shape[1]
    if together == 4:
        words = out.view(np.uint32)  # the product puts bit i into byte i, beside other bits
        for i in range(indices.size):
            words[i] = (np.uint32(indices[i]) * np.uint32(0x00204081)) & np.uint32(0x01010101)
    else:
        for i in range(indices.size):
            for k in range(together):
                out[i * together + k] = digits[indices[i], k]


@inlined
def slide(digits: np.ndarray, step: int, together: int, out: np.ndarray) -> None:
    """Write at every place an index of digits that are `step` apart: out[i] = Σ base^k digits[i + k step]."""
    n = out.size
    if together == 4:
        a, b, c, d = digits[:n], digits[step:], digits[2 * step :], digits[3 * step :]
        for i in range(n):
            out[i] = a[i] + np.uint8(2) * b[i] + np.uint8(4) * c[i] + np.uint8(8) * d[i]
    else:
        a, b, c = digits[:n], digits[step:], digits[2 * step :]
        for i in range(n):
            out[i] = a[i] + np.uint8(3) * b[i] + np.uint8(9) * c[i]
