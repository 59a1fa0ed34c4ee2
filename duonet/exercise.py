"""Exercises in notebooks: a missing answer is no error."""

from collections.abc import Callable


def attempt(check: Callable[[], object]) -> None:
    """Run the check of an exercise, and say whether it is still open or solved.

    Parameters
    ----------
    check : callable
        Takes no argument; calls the reader's code, and raises AssertionError if it is wrong.

    Raises
    ------
    AssertionError
        As raised by `check`. Other errors pass through too; only NotImplementedError means "not done yet".

    Examples
    --------
    >>> def double(x):
    ...     raise NotImplementedError
    >>> def check_double():
    ...     assert double(3) == 6
    >>> attempt(check_double)
    check_double: the exercise is still open
    >>> double = lambda x: 3 * x
    >>> attempt(check_double)
    Traceback (most recent call last):
        ...
    AssertionError
    >>> double = lambda x: 2 * x
    >>> attempt(check_double)
    check_double: solved
    """
    try:
        check()
    except NotImplementedError:
        print(f"{check.__name__}: the exercise is still open")
    else:
        print(f"{check.__name__}: solved")
