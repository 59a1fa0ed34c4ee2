"""Compile and launch the kernels of the .cu files in this folder."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from duonet import backend
from duonet.backend import Array

THREADS = 256  # in a block
MOST = 2**31 - 2**12  # elements: kernels count in 32 bits, and the last block may reach beyond the end
OPTIONS = ("--std=c++17", "--fmad=false")
C_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def launch(
    source: str,
    name: str,
    dtype: np.dtype[Any],
    grid: int | tuple[int, int],
    *arguments: Array | float | None,
    unit: str | None = None,
) -> None:
    """Start a kernel in blocks of `THREADS` threads, without waiting for its end.

    Parameters
    ----------
    source : str
        The name of a .cu file in this folder, without the ending.
    name : str
    dtype : numpy.dtype
        The type for `T` in the source.
    grid : int or (int, int)
        Number of blocks.
    *arguments : array, int, float or None
        A contiguous array for a pointer, None for a null pointer, an int for `int` and a float for `T`. CuPy would
        pass a Python int as 64 bits and a float as a double, so all are converted here.
    unit : str, optional
        The type for `UNIT`, if the kernel moves more than one number at a time.
    """
    xp = backend.get_xp(next(a for a in arguments if backend.is_array(a)))
    kernel = _kernel(xp, source, name, np.dtype(dtype), unit)
    kernel(
        grid if isinstance(grid, tuple) else (grid,),
        (THREADS,),
        tuple(_argument(a, dtype.type) for a in arguments),
    )


def _argument(value, kind):
    if value is None:
        return np.uintp(0)  # CuPy turns None itself into a pointer to anywhere
    if isinstance(value, int):
        return np.int32(value)
    return kind(value) if isinstance(value, float) else value


@functools.cache
def _kernel(xp, source, name, dtype, unit):
    return _module(xp, source, dtype, unit).get_function(name)


@functools.cache
def _module(xp, source, dtype, unit):
    return xp.RawModule(code=code(source, dtype, unit), options=OPTIONS)


def code(source: str, dtype: np.dtype[Any], unit: str | None = None) -> str:
    """Read a .cu file and put the definitions of `T` and `UNIT` in front.

    Macros would also change the compiler's own headers, which have a `template <typename T>`.

    Parameters
    ----------
    source : str
        The file's name without the ending.
    dtype : numpy.dtype
    unit : str, optional
        `T` by default.

    Returns
    -------
    str

    Examples
    --------
    >>> code("optim", np.dtype("float32")).splitlines()[0]
    'typedef float T; typedef T UNIT;'
    """
    text = Path(__file__).with_name(f"{source}.cu").read_text(encoding="utf-8")
    return f"typedef {C_NAMES[dtype]} T; typedef {unit or 'T'} UNIT;\n{text}"


def suit(*arrays: Array | None) -> bool:
    """Return whether kernels can take these arrays: all of one floating dtype, and each counted in 32 bits.

    Parameters
    ----------
    *arrays : array or None

    Returns
    -------
    bool

    Examples
    --------
    >>> suit(np.zeros(3), None), suit(np.zeros(3), np.zeros(3, "float32"))
    (True, False)
    """
    there = [a for a in arrays if a is not None]
    return all(a.dtype == there[0].dtype and a.dtype in C_NAMES and 0 < a.size <= MOST for a in there)


def blocks(n: int) -> int:
    """Count the blocks that give each of `n` elements a thread.

    Parameters
    ----------
    n : int

    Returns
    -------
    int

    Examples
    --------
    >>> blocks(257)
    2
    """
    return -(-n // THREADS)


def channel_blocks(n: int, channels: int) -> int:
    """Count blocks so that every thread, on its way through the array, meets a single channel.

    The number of threads is a multiple of the channels. A thread walks on by this number, so it stays in its
    channel and loads the channel's numbers once.

    Parameters
    ----------
    n : int
        Elements; the channels are the last axis.
    channels : int

    Returns
    -------
    int

    Examples
    --------
    >>> channel_blocks(10**6, 12) * THREADS % 12
    0
    """
    multiple = channels // np.gcd(channels, THREADS).item()
    wanted = min(blocks(n), 2048)  # enough to fill the largest GPU
    return -(-wanted // multiple) * multiple
