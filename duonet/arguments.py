"""Checks of arguments: a message names the function, the argument, the allowed values and the given value.

Each check returns the argument: `self.eps = arguments.number("BatchNorm", "eps", eps, above=0)`.
"""

import difflib
import math
import numbers
import operator
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

BOUNDS = {  # the words for a bound, and its comparison
    "at_least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
}

FLOATS = frozenset(np.dtype(name) for name in ("float16", "float32", "float64"))
NUMBERS = FLOATS | {np.dtype(code) for code in "?bBhHiIlLqQ"}


def number(owner: str, name: str, value: object, **bounds: float) -> float:
    """Return a finite real number within bounds, as Python's int or float: NumPy's would change an array's dtype.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : number
        A Python or NumPy number; not a bool.
    **bounds
        Any of `at_least`, `above`, `at_most`, `below`.

    Returns
    -------
    number

    Raises
    ------
    TypeError, ValueError
        If the value is not a number, is not finite or is out of bounds.

    Examples
    --------
    >>> number("Adam", "lr", 0.1, at_least=0)
    0.1
    >>> number("dropout", "p", 1.5, at_least=0, below=1)
    Traceback (most recent call last):
        ...
    ValueError: dropout: p must be a number at least 0 and below 1, got 1.5
    """
    if isinstance(value, bool) or not _is_real(value):
        raise TypeError(
            f"{owner}: {name} must be a number{_said(bounds)}, got {type(value).__name__} {repr(value):.60}"
        )
    return _within(owner, name, _python(value), "number" if bounds else "finite number", bounds)


def integer(owner: str, name: str, value: object, **bounds: int) -> int:
    """Return a whole number within the bounds, as an int.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : int
        A Python or NumPy integer; not a bool, and not a float, even if it is whole.
    **bounds
        Any of `at_least`, `above`, `at_most`, `below`.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If the value is not an integer or is out of bounds.

    Examples
    --------
    >>> integer("conv2d", "stride", np.int64(2), at_least=1)
    2
    >>> integer("conv2d", "stride", 0, at_least=1)
    Traceback (most recent call last):
        ...
    ValueError: conv2d: stride must be an int at least 1, got 0
    """
    if isinstance(value, bool) or not (isinstance(value, numbers.Integral) and _is_real(value)):
        raise TypeError(
            f"{owner}: {name} must be an int{_said(bounds)}, got {type(value).__name__} {repr(value):.60}"
        )
    return _within(owner, name, int(value), "int", bounds)


def axis(owner: str, value: object, ndim: int) -> int:
    """Return an axis of an array, counted from the front.

    Parameters
    ----------
    owner : str
        The function, for messages.
    value : int
        From -ndim to ndim - 1.
    ndim : int

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If the value is not an integer, or the array has no such axis.

    Examples
    --------
    >>> axis("concat", -1, 4)
    3
    >>> axis("concat", 5, 2)
    Traceback (most recent call last):
        ...
    ValueError: concat: axis must be an int at least -2 and below 2, got 5
    """
    return integer(owner, "axis", value, at_least=-ndim, below=ndim) % ndim


def fitting(owner: str, name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """Return a real number that an array of the dtype can hold, as an int or a float.

    Floats round, and are infinite or NaN only if the number is; integers hold whole numbers of their range.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : number
    dtype : numpy.dtype

    Returns
    -------
    number

    Raises
    ------
    TypeError, ValueError
        If the value is not a real number, or the dtype cannot hold it.

    Examples
    --------
    >>> fitting("pad", "value", 0.1, np.dtype("float32"))
    0.1
    >>> fitting("pad", "value", 0.5, np.dtype("uint8"))
    Traceback (most recent call last):
        ...
    ValueError: pad: value is 0.5, which uint8 cannot hold
    """
    if type(value) in (float, int) and dtype.kind == "f" and -65504 <= value <= 65504:
        return value  # float16 can hold it; the general test takes ten times as long
    if not _is_real(value):
        raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")
    try:
        with np.errstate(all="ignore"):
            held = dtype.type(value)
        fits = held == value if dtype.kind != "f" else np.isfinite(held) or value in (np.inf, -np.inf)
        fits = fits or (dtype.kind == "f" and value != value)
    except (OverflowError, ValueError):  # an int beyond the range, or NaN as an integer
        fits = False
    if not fits:
        raise ValueError(f"{owner}: {name} is {repr(value):.60}, which {dtype} cannot hold")
    return _python(value)


def array(owner: str, name: str, value: Any, dtypes: frozenset[np.dtype[Any]] = FLOATS) -> npt.NDArray[Any]:
    """Return an array of real numbers that is a plain ndarray in the machine's byte order.

    Matrices and masked arrays are refused: they multiply and add by rules of their own.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : numpy.ndarray, numpy.generic or cupy.ndarray
    dtypes : frozenset of numpy.dtype
        `FLOATS`, or `NUMBERS`, which holds integers and bool as well.

    Returns
    -------
    array

    Raises
    ------
    TypeError
        If the value is not such an array.

    Examples
    --------
    >>> array("exp", "x", np.arange(3))
    Traceback (most recent call last):
        ...
    TypeError: exp: x must be floats of 16 to 64 bits, got int64; convert it first, with astype
    """
    if type(value) is np.ndarray and value.dtype in dtypes:
        return value
    if not hasattr(value, "dtype"):
        raise TypeError(f"{owner}: {name} must be an array, got {type(value).__name__}")
    if value.dtype not in dtypes:
        kinds = (
            "floats of 16 to 64 bits" if dtypes is FLOATS else "numbers (floats of 16 to 64 bits, integers, bool)"
        )
        order = "" if value.dtype.isnative else " in another byte order"
        raise TypeError(
            f"{owner}: {name} must be {kinds}, got {value.dtype}{order}; convert it first, with astype"
        )
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        raise TypeError(f"{owner}: {name} must be a plain array, got a {type(value).__name__}")
    return value


def one_of(owner: str, name: str, value: object, choices: Collection[str]) -> str:
    """Return a word after a check that it is one of the choices.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : str
    choices : collection of str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the value is none of the choices; the message suggests the nearest choice.

    Examples
    --------
    >>> one_of("build", "model", "vgg8", ["vgg7", "mlp"])
    Traceback (most recent call last):
        ...
    ValueError: build: model must be one of vgg7, mlp, got 'vgg8'; did you mean 'vgg7'?
    """
    if not isinstance(value, str) or value not in choices:
        near = nearest(value, choices)
        raise ValueError(f"{owner}: {name} must be one of {', '.join(choices)}, got {repr(value):.60}{near}")
    return value


def nearest(value: object, choices: Collection[str]) -> str:
    """Return the end of a message that suggests the choice most like a value in either case; "" if none is near.

    Examples
    --------
    >>> nearest("VGG-7", ["vgg7", "mlp"])
    "; did you mean 'vgg7'?"
    """
    known = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(str(value)[:60].lower(), known, 1)
    return f"; did you mean {known[found[0]]!r}?" if found else ""


def generator(owner: str, name: str, value: object) -> np.random.Generator:
    """Return a random generator after a check that it is one.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : numpy.random.Generator

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        If the value is not a generator.

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


def instance(owner: str, name: str, value: object, kind: type[T]) -> T:
    """Return an object, or raise TypeError if it is not an instance of a class.

    Parameters
    ----------
    owner, name : str
        The function and the argument, for messages.
    value : object
    kind : type

    Examples
    --------
    >>> instance("fit", "model", 3, dict)
    Traceback (most recent call last):
        ...
    TypeError: fit: model must be a dict, got int
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{owner}: {name} must be {article} {kind.__name__}, got {type(value).__name__}")
    return value


def _is_real(value):
    return isinstance(value, numbers.Real) and not isinstance(value, np.timedelta64)  # NumPy counts it among them


def _python(value):
    return int(value) if isinstance(value, numbers.Integral) else float(value)


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
