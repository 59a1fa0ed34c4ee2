"""One thread beside the caller if Python can start threads; in WebAssembly, no thread."""

import functools
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


@functools.cache
def can_start() -> bool:
    """Return whether this Python can start a thread; if not, as in WebAssembly, the caller does all the work.

    Returns
    -------
    bool

    Examples
    --------
    >>> isinstance(can_start(), bool)
    True
    """
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return False
    return True


def worker(name: str) -> Executor:
    """Return an executor of one thread; if no thread can be started, `submit` does the work at once.

    Parameters
    ----------
    name : str
        The name of the thread.

    Returns
    -------
    concurrent.futures.Executor

    Examples
    --------
    >>> with worker("helper") as helper:
    ...     helper.submit(max, 1, 2).result()
    2
    """
    return ThreadPoolExecutor(1, thread_name_prefix=name) if can_start() else _AtOnce()


class _AtOnce(Executor):
    def submit(self, work, /, *args, **options):
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future
