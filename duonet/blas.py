"""BLAS at one thread while the package computes, and as before afterwards.

The bits of a matrix product depend on the number of BLAS threads, which would compete for the cores with the
threads of `duonet.parallel`. The number belongs to the process: while one thread holds it at one, it is one for
all threads.
"""

import contextlib
import functools
import os
import threading


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Return a context manager that holds BLAS at one thread; without threadpoolctl it does nothing.

    When the last thread that holds it leaves, BLAS gets its former number again. A change takes some microseconds,
    but nothing inside another such context: an op holds BLAS, a model for all ops, and a loop for all steps.

    Returns
    -------
    context manager

    Examples
    --------
    >>> import numpy as np
    >>> with one_thread():
    ...     float(np.ones(3) @ np.ones(3))
    3.0
    """
    return _nothing if _mine.holding else _outermost


def can_be_told() -> bool:
    """Return whether threadpoolctl, which sets the number of threads, is installed.

    Returns
    -------
    bool

    Examples
    --------
    >>> isinstance(can_be_told(), bool)
    True
    """
    with _lock:
        return _limits() is not None


class _Mine(threading.local):
    holding = False  # does this thread hold BLAS?


class _Outermost:
    """The context of a thread that does not hold BLAS yet."""

    def __enter__(self):
        with _lock:
            for limit in _limits() or ():
                limit.hold()
        _mine.holding = True

    def __exit__(self, *error):
        _mine.holding = False
        with _lock:
            for limit in _limits() or ():
                limit.let_go()


class _Limit:
    """A BLAS library with one number of threads for the process, and the count of threads that hold it at one."""

    def __init__(self, library):
        self.library, self.holding, self.before = library, 0, 1
        # threadpoolctl may let a single thread set OpenBLAS, and ignore all other threads until this is cleared.
        self.clear = getattr(library, "clear_controlling_thread", lambda force=False: None)

    def hold(self):
        if not self.holding:
            self.before = self.library.num_threads
            if self.before != 1:
                self.clear(force=True)
                self.library.set_num_threads(1)
        self.holding += 1

    def let_go(self):
        self.holding -= 1
        if not self.holding:
            self.put_back()

    def put_back(self):
        self.clear(force=True)
        self.library.set_num_threads(self.before)
        self.clear()

    def go_on_in_child(self):
        """Count only the thread that survives in a forked child: the other holders would never let go there."""
        held, self.holding = self.holding, int(_mine.holding)
        if held and not self.holding:
            self.put_back()


class _LimitOfEachThread(_Limit, threading.local):
    """A BLAS library with a number for each thread: OpenBLAS built with OpenMP."""


_mine, _outermost, _nothing = _Mine(), _Outermost(), contextlib.nullcontext()
_lock = threading.Lock()


@functools.cache
def _limits():  # called with the lock, so that there is one list
    try:
        import threadpoolctl
    except ImportError:
        return None
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    limits = [(_LimitOfEachThread if _each_thread(library) else _Limit)(library) for library in libraries]

    def go_on_in_child():
        for limit in limits:
            limit.go_on_in_child()
        _lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=go_on_in_child)
    return limits


def _each_thread(library):
    if library.internal_api != "openblas" or not hasattr(library, "clear_controlling_thread"):
        return False
    return library.threading_layer == "openmp"
