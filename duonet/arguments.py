"""Checks of arguments in one manner: a message names who was called, the argument, what it may be and what came.

Each check returns the argument: `self.eps = arguments.number("BatchNorm", "eps", eps, above=0)`.
"""

import difflib
import math
import numbers
import operator

import numpy as np

BOUNDS = {  # how a bound is said, and when it holds
    "at_least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def number(owner, name, value, **bounds):
    """Return a finite real number within the bounds, as it came.

    Parameters
    ----------
    owner, name : str
        Who was called, and the argument's name.
    value : number
        A Python or NumPy number; no bool.
    **bounds
        Any of `at_least`, `above`, `at_most`, `below`.

    Returns
    -------
    number

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not finite, or out of bounds.

    Examples
    --------
    >>> number("Adam", "lr", 0.1, at_least=0)
    0.1
    >>> number("dropout", "p", 1.5, at_least=0, below=1)
    Traceback (most recent call last):
        ...
    ValueError: dropout: p must be a number at least 0 and below 1, got 1.5
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{owner}: {name} must be a number{_said(bounds)}, got {type(value).__name__} {repr(value):.60}"
        )
    return _within(owner, name, value, "number" if bounds else "finite number", bounds)


def integer(owner, name, value, **bounds):
    """Return a whole number within the bounds, as an int.

    Parameters
    ----------
    owner, name : str
        Who was called, and the argument's name.
    value : int
        A Python or NumPy integer; no bool, and no float even where it is whole.
    **bounds
        Any of `at_least`, `above`, `at_most`, `below`.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is out of bounds.

    Examples
    --------
    >>> integer("conv2d", "stride", np.int64(2), at_least=1)
    2
    >>> integer("conv2d", "stride", 0, at_least=1)
    Traceback (most recent call last):
        ...
    ValueError: conv2d: stride must be an int at least 1, got 0
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{owner}: {name} must be an int{_said(bounds)}, got {type(value).__name__} {repr(value):.60}"
        )
    return _within(owner, name, int(value), "int", bounds)


def one_of(owner, name, value, choices):
    """Return a word that is among the choices.

    Parameters
    ----------
    owner, name : str
        Who was called, and the argument's name.
    value : str
    choices : collection of str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is not among them; the nearest is suggested.

    Examples
    --------
    >>> one_of("build", "model", "vgg8", ["vgg7", "mlp"])
    Traceback (most recent call last):
        ...
    ValueError: build: model must be one of vgg7, mlp, got 'vgg8'; did you mean 'vgg7'?
    """
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{owner}: {name} must be one of {', '.join(choices)}, got {value!r}{suggestion}")
    return value


def generator(owner, name, value):
    """Return a random generator.

    Parameters
    ----------
    owner, name : str
        Who was called, and the argument's name.
    value : numpy.random.Generator

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> generator("dropout", "rng", 0)
    Traceback (most recent call last):
        ...
    TypeError: dropout: rng must be a numpy.random.Generator, got int
    """
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{owner}: {name} must be a numpy.random.Generator, got {type(value).__name__}")
    return value


def _within(owner, name, value, kind, bounds):
    if not _finite(value) or not all(BOUNDS[word][1](value, bound) for word, bound in bounds.items()):
        article = "an" if kind == "int" else "a"
        raise ValueError(f"{owner}: {name} must be {article} {kind}{_said(bounds)}, got {repr(value):.60}")
    return value


def _finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _said(bounds):
    return "".join(
        f" {'and ' if i else ''}{BOUNDS[word][0]} {bound}" for i, (word, bound) in enumerate(bounds.items())
    )
