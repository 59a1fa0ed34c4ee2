"""Batches in chunks that stay in cache, on a pool of Python threads.

NumPy releases the GIL inside its loops and matrix products, so plain threads use every core. Each chunk is a
separate product in a fixed order: the result does not depend on the number of threads.
"""

import contextlib
import contextvars
import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, blas, workers

CHUNK_BYTES = 1 << 20  # fits into a second-level cache; smaller chunks spend their time in Python
EVEN = 4  # several chunks are a multiple of this, so that two or four threads finish together

KEPT_BYTES = 1 << 24  # of an array in a thread: larger arrays belong to images that no cache holds

_asked: contextvars.ContextVar[int | None] = contextvars.ContextVar("threads", default=None)


class _Mine(threading.local):
    """The memory of a thread's scratch arrays, the smallest array first."""

    def __init__(self):
        self.buffers = []


_mine = _Mine()
# A view of a buffer, even a view of a view, refers to the buffer: with so few references, it has no view.
_UNUSED = max(map(sys.getrefcount, [np.empty(0)]))


def chunks(n: int, bytes_each: int) -> list[slice]:
    """Cut `n` items into slices whose working memory is at most about `CHUNK_BYTES`.

    The cuts depend on the two arguments alone, so that the number of threads changes no result.

    Parameters
    ----------
    n : int
    bytes_each : int
        Working memory of one item.

    Returns
    -------
    list of slice

    Examples
    --------
    >>> chunks(6, CHUNK_BYTES // 2)
    [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None), slice(4, 6, None)]
    """
    if n * bytes_each <= CHUNK_BYTES:
        return [slice(0, n)]
    count = min(n, -(-n * bytes_each // (EVEN * CHUNK_BYTES)) * EVEN)
    ends = [n * (i + 1) // count for i in range(count)]
    return [slice(start, end) for start, end in zip([0, *ends], ends)]


def run(work: Callable[[Any], Any], chunks: list[Any], least: int = 5) -> list[Any]:
    """Call `work` on every chunk, on all cores if there are enough chunks, and list the results in order.

    The calling thread works too. A thread that has finished a chunk takes the next chunk.

    Parameters
    ----------
    work : callable
        Takes a chunk.
    chunks : list
    least : int
        With fewer chunks the caller does all the work: a wake-up of another thread takes a tenth of a millisecond,
        as long as a few operations on a chunk.

    Returns
    -------
    list

    Examples
    --------
    >>> x = np.arange(4.0)
    >>> [float(s) for s in run(lambda rows: x[rows].sum(), [slice(0, 2), slice(2, 4)], least=2)]
    [1.0, 5.0]
    """
    n = _number() if len(chunks) >= least and blas.can_be_told() and workers.can_start() else 1
    with blas.one_thread():
        return _share_out(work, chunks, n) if n > 1 else [work(chunk) for chunk in chunks]


def _share_out(work, chunks, n):
    pool, results = _pool(os.getpid(), n - 1), [None] * len(chunks)
    waiting = iter(enumerate(chunks))  # threads may share it: under the GIL, `next` is one step

    def take():
        with blas.one_thread():
            for i, chunk in waiting:
                results[i] = work(chunk)

    others = [pool.submit(contextvars.copy_context().run, take) for _ in range(min(n, len(chunks)) - 1)]
    try:
        take()
    finally:
        for other in others:  # no thread may still write when the caller continues or learns of an error
            other.cancel() or other.exception()
    for other in others:
        if not other.cancelled():
            other.result()
    return results


def scratch(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array for work in this thread, until nothing refers to the array any more.

    Then the memory serves the next call. A fresh large array would cost page faults, and its memory is not in the
    cache.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> a, b = scratch((2, 3), np.float32), scratch((2, 3), np.float32)
    >>> np.shares_memory(a, b)
    False
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > KEPT_BYTES:
        return np.empty(shape, dtype)
    kept = _mine.buffers
    small = None
    for i, references in enumerate(map(sys.getrefcount, kept)):
        if references == _UNUSED:
            if len(kept[i]) >= size:
                return np.ndarray(shape, dtype, kept[i])
            small = i
    if small is not None:
        del kept[small]  # all free arrays are too small: a larger array replaces the largest
    buffer = np.empty(size, np.uint8)
    kept.append(buffer)
    kept.sort(key=len)
    return np.ndarray(shape, dtype, buffer)


def keep_memory() -> None:
    """Ask the C library, if it is glibc, to keep freed memory for the next array; else do nothing.

    By default glibc returns large arrays to the system at once, and every new array then costs page faults: about
    a tenth of a training step. The setting belongs to the process, so a program may choose it, but not a library.

    Examples
    --------
    >>> keep_memory()
    """
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # the numbers of malloc.h
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, 1 << 30)


@contextlib.contextmanager
def threads(n: int | None = None) -> Iterator[None]:
    """Share work among `n` threads inside the block, and hold BLAS at one.

    No result depends on `n`: chunks are cut by shapes alone, and BLAS runs single-threaded in every op of the
    package, inside or outside. Inside, this includes your own products, and no op needs to set BLAS again.
    Afterwards BLAS has as many threads as before. `fit`, `evaluate`, `measure` and the commands do all of their
    work inside. Without threadpoolctl, nothing can set BLAS, and no work is shared.

    Parameters
    ----------
    n : int, optional
        By default, the number of the enclosing `with`, else `DUONET_THREADS`, else the number of cores.

    Returns
    -------
    context manager

    Raises
    ------
    TypeError, ValueError
        If `n` or `DUONET_THREADS` is not a whole number from 1 to 9999.

    Examples
    --------
    >>> from duonet import Tensor
    >>> x, w = Tensor(np.ones((4, 2), "float32")), Tensor(np.ones((2, 3), "float32"))
    >>> with threads(1):
    ...     (x @ w).shape
    (4, 3)
    """
    token = _asked.set(_number() if n is None else arguments.integer("threads", "n", n, at_least=1, at_most=9999))
    try:
        with blas.one_thread():
            yield
    finally:
        _asked.reset(token)


def _number():
    """Return the number of threads in force."""
    return _asked.get() or _usual()


@functools.cache
def _usual():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("DUONET_THREADS", str(cores))
    if not (asked.isascii() and asked.isdigit() and len(asked) < 5 and int(asked) > 0):
        raise ValueError(f"DUONET_THREADS must be a whole number from 1 to 9999, got {repr(asked):.60}")
    return int(asked)


@functools.lru_cache(maxsize=4)  # the threads of a dropped pool end
def _pool(pid, helpers):
    """Return the pool of a process and a number of threads beside the caller; a forked child makes its own."""
    return ThreadPoolExecutor(helpers, thread_name_prefix="duonet")
