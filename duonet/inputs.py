"""The inputs of an op, as arrays of one dtype on one device, or a message that names two different inputs."""

from typing import Any

import numpy as np

from duonet import arguments, backend
from duonet.backend import Array


def together(op: Any, inputs: list[Any]) -> list[Any]:
    """Turn the inputs of an op into arrays that it can compute with.

    Parameters
    ----------
    op : type
        A `Function`, for its name and the dtypes that it takes.
    inputs : list of array, number or None
        A number takes the dtype of the arrays, which must hold it. None stands for a missing input.

    Returns
    -------
    list of array or None

    Raises
    ------
    TypeError
        If no input is an array, the op does not take an input, or two inputs differ in dtype or device.
    ValueError
        If the dtype cannot hold a number.

    Examples
    --------
    >>> from duonet.functional.arithmetic import Add
    >>> together(Add, [np.ones(2, "float32"), 1])
    [array([1., 1.], dtype=float32), array(1., dtype=float32)]
    >>> together(Add, [np.ones(2, "float32"), np.ones(2)])
    Traceback (most recent call last):
        ...
    TypeError: add: a is float32 but b is float64; an op converts nothing
    """
    given = [(i, a) for i, a in enumerate(inputs) if backend.is_array(a)]
    if not given:
        raise TypeError(f"{op.name}: expected a Tensor or an array, got {type(inputs[0]).__name__}")
    first, like = given[0]
    xp, dtype = backend.get_xp(like), like.dtype
    for i, a in given:
        if type(a) is xp.ndarray and a.dtype is dtype and dtype in op.dtypes and a.device == like.device:
            continue
        if backend.get_xp(a) is not xp:
            _differ(op, first, f"on the {backend.device_of(like)}", i, f"on the {backend.device_of(a)}")
        if a.device != like.device:
            _differ(op, first, f"on GPU {like.device.id}", i, f"on GPU {a.device.id}")
        arguments.array(op.name, name_of(op, i), a, op.dtypes)
        if a.dtype != dtype:
            _differ(op, first, dtype, i, a.dtype, "an op converts nothing")
    return [a if a is None or backend.is_array(a) else _number(op, i, a, like) for i, a in enumerate(inputs)]


def name_of(op: Any, i: int) -> str:
    """Return the name of an op's i-th input: the argument of its `forward`.

    Parameters
    ----------
    op : type
        A `Function`.
    i : int

    Returns
    -------
    str

    Examples
    --------
    >>> from duonet.functional.conv import Conv2d
    >>> name_of(Conv2d, 1)
    'w'
    """
    code = op.forward.__code__
    names = code.co_varnames[1 : code.co_argcount]
    return names[i] if i < len(names) else f"input {i}"


def _differ(op, i, one, k, other, advice="move one of them first"):
    raise TypeError(f"{op.name}: {name_of(op, i)} is {one} but {name_of(op, k)} is {other}; {advice}")


def _number(op: Any, i: int, value: object, like: Array) -> Array:
    if not isinstance(value, (float, int, np.number)):  # `fitting` then refuses some, such as complex numbers
        raise TypeError(
            f"{op.name}: {name_of(op, i)} must be a Tensor, an array or a number, got {type(value).__name__}"
        )
    value = arguments.fitting(op.name, name_of(op, i), value, like.dtype)
    return backend.get_xp(like).asarray(value, dtype=like.dtype)
