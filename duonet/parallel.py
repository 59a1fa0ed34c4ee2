"""Batches in chunks that stay in cache, on a pool of Python threads.

NumPy releases the GIL inside its loops and matrix products, so plain threads use every core. Each chunk is a
separate product in a fixed order: the result does not depend on the number of threads.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from duonet import backend

CHUNK_BYTES = 1 << 21  # about a second-level cache; smaller chunks spend their time in Python


def chunks(x, bytes_each):
    """Cut the batch `x` into slices whose working memory is about `CHUNK_BYTES`.

    Parameters
    ----------
    x : array
        (N, ...); on a GPU it stays whole.
    bytes_each : int
        Working memory that one of the N items needs.

    Returns
    -------
    list of slice

    Examples
    --------
    >>> chunks(np.zeros((5, 3)), CHUNK_BYTES // 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, CHUNK_BYTES // bytes_each) if backend.get_xp(x) is np else max(1, len(x))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


def run(work, slices):
    """Call `work` on every slice, on all cores where that helps, and list the results in order.

    Parameters
    ----------
    work : callable
        Takes a slice of the batch; must not call `run` itself.
    slices : list of slice

    Returns
    -------
    list

    Examples
    --------
    >>> x = np.arange(4.0)
    >>> [float(s) for s in run(lambda rows: x[rows].sum(), [slice(0, 2), slice(2, 4)])]
    [1.0, 5.0]
    """
    pool = _pool(os.getpid()) if len(slices) > 1 else None
    return [work(s) for s in slices] if pool is None else list(pool.map(work, slices))


def keep_memory():
    """Ask the C library to keep freed memory for the next array, where it is glibc; elsewhere do nothing.

    By default it hands large arrays back to the system at once, and every new one then costs page faults: about a
    tenth of a training step. The setting is for the whole process, so it is for programs to choose, not libraries.

    Examples
    --------
    >>> keep_memory()
    """
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # the numbers of malloc.h
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, 1 << 30)


def settle():
    """Set the number of threads now, rather than when the first large batch comes.

    A matrix product has other bits on other numbers of BLAS threads. What is to be repeated exactly, in this
    process or another, must not begin before they are set.

    Examples
    --------
    >>> settle()
    """
    _pool(os.getpid())


@functools.cache
def _pool(pid):
    """Make this process's pool (a forked child has no threads of its parent's), or None for one thread.

    There are as many threads as cores, or `DUONET_THREADS`. BLAS threads beside Python threads fight over the
    cores, so BLAS is told, once, to keep to one. Without threadpoolctl it cannot be told, and keeps its own.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = int(os.environ.get("DUONET_THREADS", cores))
    try:
        import threadpoolctl
    except ImportError:
        return None
    threadpoolctl.threadpool_limits(1, user_api="blas")
    return ThreadPoolExecutor(threads, thread_name_prefix="duonet") if threads > 1 else None
