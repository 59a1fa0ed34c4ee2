"""Compile kernels, and share their work among duonet's own threads.

numba's `prange` is not used: its OpenMP threads kill a forked child, and its own threads abort if two Python
threads compute at once. A kernel here is a function (start, stop, ...) on a range of tasks that releases the
interpreter's lock. The work of a task depends on shapes alone, so no bit depends on the thread that does it.
"""

import sys
from collections.abc import Callable

import numba
import numpy as np
from numba.core import event

from duonet import parallel

RANGES = 8  # of tasks, for any number of threads
SHARED = 300_000  # row operations from which a second thread pays; waking it costs 20 to 50 µs


def kernel(function: Callable) -> Callable:
    """Compile a function on a range of tasks at its first call, once for this machine: the code is cached on disk.

    Parameters
    ----------
    function : callable
        A function (start, stop, ...). Arrays that it only reads must pass through `given`.

    Returns
    -------
    callable
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


def inlined(function: Callable) -> Callable:
    """Compile a helper of kernels, which becomes part of their code.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable

    Examples
    --------
    >>> inlined(lambda x: x + 1)(2)
    3
    """
    return numba.njit(forceinline=True, error_model="numpy")(function)


def given(x: np.ndarray) -> np.ndarray:
    """Return a contiguous read-only view, which has the same type for numba whether `x` is read-only or not.

    Parameters
    ----------
    x : numpy.ndarray
        An array that is not contiguous is copied.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> x = np.ones((2, 3), "float32")
    >>> given(x).flags.writeable, np.shares_memory(given(x), x)
    (False, True)
    """
    view = np.ascontiguousarray(x).view()
    view.flags.writeable = False
    return view


def share(kernel: Callable, tasks: int, work: float, *values: object) -> None:
    """Call kernel(start, stop, *values) on ranges that make up all tasks, on all cores if that pays.

    Parameters
    ----------
    kernel : callable
    tasks : int
        Number of tasks.
    work : float
        About the number of operations on rows of floats in all tasks together.
    *values : object

    Examples
    --------
    >>> x = np.zeros(5)
    >>> def fill(start, stop, x):
    ...     x[start:stop] = 1
    >>> share(fill, 5, 1e9, x)
    >>> x.tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if work < SHARED or tasks < 2:
        kernel(0, tasks, *values)
        return
    count = min(RANGES, tasks)
    ends = [tasks * i // count for i in range(count + 1)]
    parallel.run(lambda ends: kernel(*ends, *values), list(zip(ends, ends[1:])), least=2)


def parts(n: int, size: int) -> int:
    """Return the number of parts of a sum over n images: it depends on shapes alone, for the same bits anywhere.

    Parameters
    ----------
    n : int
        Number of images.
    size : int
        Number of floats in one part.

    Returns
    -------
    int

    Examples
    --------
    >>> parts(128, 1000), parts(128, 1 << 20), parts(3, 1000)
    (16, 4, 3)
    """
    return max(1, min(n, max(2, min(16, (1 << 22) // size))))


class _Notice(event.Listener):
    """Tells the user, at the first compilation of one of duonet's kernels, why the program waits."""

    said = False

    def on_start(self, event):
        dispatcher = event.data["dispatcher"]
        if self.said or not dispatcher.py_func.__module__.startswith("duonet.") or not sys.stderr.isatty():
            return
        _Notice.said = True
        print("duonet: compiling for this machine, which takes some seconds, once", file=sys.stderr)

    def on_end(self, event):
        """Do nothing."""


event.register("numba:compile", _Notice())
