"""Arrays by name, checked against the arrays that they replace."""

from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend
from duonet.backend import Array


def fitting(owner: str, state: dict[str, Array], like: dict[str, Array]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a `state_dict`, each in the dtype of its place; if one does not fit, raise an error.

    NaN and infinity are kept; a number that becomes infinite only in a narrower dtype is refused.

    Parameters
    ----------
    owner : str
        The beginning of messages.
    state : dict
        From name to array.
    like : dict
        From name to an array of the expected shape and dtype.

    Returns
    -------
    dict
        From name to a new NumPy array.

    Raises
    ------
    TypeError
        If `state` is not a dict.
    ValueError
        If an array is missing, unexpected or does not fit; the message names all such arrays.

    Examples
    --------
    >>> fitting("Scale", {"factor": np.array([2.0])}, {"factor": np.zeros(1, "float32")})
    {'factor': array([2.], dtype=float32)}
    >>> fitting("Scale", {"factor": np.array([1e300])}, {"factor": np.zeros(1, "float32")})
    Traceback (most recent call last):
        ...
    ValueError: Scale: factor holds numbers beyond the range of float32
    """
    if not isinstance(state, dict):
        raise TypeError(f"{owner}: expected a dict from name to array, got {type(state).__name__}")
    problems = [f"missing {name}" for name in like if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in like]
    arrays = {}
    for name in (name for name in like if name in state):
        arrays[name], problem = _converted(state[name], like[name])
        problems += [f"{name} {problem}"] if problem else []
    if problems:
        raise ValueError(f"{owner}: {'; '.join(problems)}")
    return arrays


def _converted(value, like):
    """Return a copy in the dtype of `like`, and the fault of the value or None."""
    if not backend.is_array(value) or isinstance(value, np.ma.MaskedArray):
        return None, f"is a {type(value).__name__}, expected an array"
    if value.shape != like.shape:
        return None, f"has shape {value.shape}, expected {like.shape}"
    if value.dtype.kind != like.dtype.kind:
        return None, f"has dtype {value.dtype}, expected {like.dtype}"
    value = np.asarray(backend.to_device(value, "cpu"))
    with np.errstate(over="ignore"):
        array = value.astype(like.dtype)
    fits = (np.isfinite(array) == np.isfinite(value)) if array.dtype.kind == "f" else array == value
    return array, None if np.all(fits) else f"holds numbers beyond the range of {like.dtype}"
