"""How kernels are compiled, and shared out among duonet's own threads.

numba's `prange` is left alone: its OpenMP threads kill a forked child, its own abort where two Python threads
compute at once. A kernel here is a function (start, stop, ...) on a range of tasks that lets go of the
interpreter's lock. What a task computes depends on shapes alone, so no bit depends on who computes it.
"""

import sys
from collections.abc import Callable

import numba
import numpy as np
from numba.core import event

from duonet import parallel

RANGES = 8  # that tasks are cut into, whatever the number of threads
SHARED = 300_000  # row operations from which a second thread pays; waking one costs 20 to 50 µs


def kernel(function: Callable) -> Callable:
    """Compile a function on a range of tasks at its first call, once for this machine: it is cached on disk.

    Parameters
    ----------
    function : callable
        Arrays that it only reads come as `given` hands them over.

    Returns
    -------
    callable
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


def inlined(function: Callable) -> Callable:
    """Compile a part of kernels, which becomes a part of their code.

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
    """Return a contiguous view that cannot be written to: one type to numba, whether or not `x` can be.

    Parameters
    ----------
    x : numpy.ndarray
        Is copied where it is not contiguous.

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
    """Call kernel(start, stop, *values) on ranges that make up all tasks, on all cores where that pays.

    Parameters
    ----------
    kernel : callable
    tasks : int
    work : float
        Operations on rows of floats, of all tasks together, about.
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
    """Return in how many parts a sum over n images is computed: a fixed number, for the same bits anywhere.

    Parameters
    ----------
    n : int
    size : int
        Floats in one part.

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
    """Says at the first compilation of a kernel of ours why the program waits."""

    said = False

    def on_start(self, event):
        dispatcher = event.data["dispatcher"]
        if self.said or not dispatcher.py_func.__module__.startswith("duonet.") or not sys.stderr.isatty():
            return
        _Notice.said = True
        print("duonet: compiling for this machine, some seconds; next time it is ready", file=sys.stderr)

    def on_end(self, event):
        """Nothing."""


event.register("numba:compile", _Notice())
