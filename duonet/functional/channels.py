"""Arithmetic along the channels, the last axis, written so that NumPy is fast."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend
from duonet.backend import Array


def per_channel_numbers(owner: str, name: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check one number for each channel, or one number for all channels, and return a copy.

    Parameters
    ----------
    owner, name : str
        The caller's name and the argument's, for the message.
    value : number or (C,) array
        Finite.

    Returns
    -------
    numpy.ndarray
        float64, () or (C,).

    Raises
    ------
    ValueError
        If `value` is not such a number or array.

    Examples
    --------
    >>> per_channel_numbers("Binary", "threshold", [0, 0.5])
    array([0. , 0.5])
    """
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "fiu" or numbers.ndim > 1 or not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"{owner}: {name} must be a finite number or (C,) finite numbers, got {repr(value):.60}")
    return numbers.astype(np.float64)


def distinct(numbers: npt.ArrayLike) -> str:
    """Write the distinct values of per-channel numbers, in six digits, for `repr`."""
    return ", ".join(str(float(f"{number:.6g}")) for number in np.unique(numbers))


def refuse_misfit(owner: str, name: str, vector: Array, x: Array) -> None:
    """Raise ValueError unless a vector, the argument `name`, holds one number for each channel of x."""
    if vector.shape != x.shape[-1:]:
        raise ValueError(f"{owner}: {name} of shape {vector.shape} does not fit the channels of x {x.shape}")


def sum_rows(rows: Array) -> Array:
    """Sum the rows of a matrix by a matrix product, which BLAS does far faster than `sum(axis=0)`.

    Parameters
    ----------
    rows : array
        (M, C)

    Returns
    -------
    array
        (C,)

    Examples
    --------
    >>> import numpy as np
    >>> sum_rows(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return backend.get_xp(rows).ones(len(rows), rows.dtype) @ rows


def per_channel(op: Callable[..., Any], x: Array, vector: Array, out: Array | None = None) -> Array:
    """Compute op(x, vector) with one element of `vector` for each channel.

    Images are viewed as rows of W C values, combined with W copies of the vector: with rows of C values, the inner
    loop would be short, and NumPy two to four times slower.

    Parameters
    ----------
    op : ufunc
        A function of two arguments, such as `xp.multiply`.
    x : array
        (..., C)
    vector : array
        (C,)
    out : array, optional
        The array to write to, contiguous and of x's shape; by default a new array of x's dtype.

    Returns
    -------
    array
        (..., C)

    Examples
    --------
    >>> import numpy as np
    >>> per_channel(np.add, np.zeros((1, 2, 2, 2)), np.array([1.0, 5.0])).ravel()
    array([1., 5., 1., 5., 1., 5., 1., 5.])
    """
    xp = backend.get_xp(x)
    repeat = x.shape[-2] if x.ndim == 4 else 1
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x) if out is None else out
    rows = x.shape[:-2] if x.ndim == 4 else x.shape[:-1]
    wide = (math.prod(rows), repeat * x.shape[-1])
    op(x.reshape(wide), xp.tile(vector, repeat), out=y.reshape(wide))
    return y
