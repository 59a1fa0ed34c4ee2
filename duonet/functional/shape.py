"""Ops that move elements: the gradient takes the same way back."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from duonet import arguments, backend, exact
from duonet.tensor import Function, Tensor


def reshape(x: Tensor, shape: Iterable[int]) -> Tensor:
    """Give the elements of x another shape, in which one length may be -1; dx is dy in the old shape.

    TypeError or ValueError if the elements do not fit, or `shape` contains anything but lengths.

    Examples
    --------
    >>> reshape(Tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
    (2, 2)
    """
    shape = tuple(arguments.integer("reshape", "shape", n, at_least=-1) for n in shape)
    return Reshape.apply(x, shape=shape)


class Reshape(Function):
    dtypes = arguments.NUMBERS

    @staticmethod
    def forward(ctx, x, *, shape):
        ctx.shape = x.shape
        try:
            return x.reshape(shape)
        except ValueError:
            raise ValueError(f"reshape: x of shape {x.shape} ({x.size} elements) does not fit {shape}") from None

    @staticmethod
    def backward(ctx, dy):
        return dy.reshape(ctx.shape)


def transpose(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Permute the axes of x: axis i of the result is `axes[i]`, reversed by default; dx is dy permuted back.

    TypeError or ValueError if `axes` is not a permutation.
    """
    return Transpose.apply(x, axes=axes)


class Transpose(Function):
    dtypes = arguments.NUMBERS

    @staticmethod
    def forward(ctx, x, *, axes):
        reverse = tuple(range(x.ndim))[::-1]
        ctx.axes = reverse if axes is None else tuple(arguments.axis("transpose", a, x.ndim) for a in axes)
        if sorted(ctx.axes) != list(range(x.ndim)):
            raise ValueError(f"transpose: axes {axes} is not a permutation of the {x.ndim} axes of x {x.shape}")
        return x.transpose(ctx.axes)

    @staticmethod
    def backward(ctx, dy):
        return dy.transpose([ctx.axes.index(i) for i in range(len(ctx.axes))])


def concat(tensors: Iterable[Tensor], axis: int = -1) -> Tensor:
    """Join tensors, equal in all other axes, along one axis; the gradient of each is its part of dy.

    TypeError or ValueError if there is no tensor, shapes disagree, or the tensors have no such axis.

    Examples
    --------
    >>> concat([Tensor([1.0]), Tensor([2.0, 3.0])]).data
    array([1., 2., 3.], dtype=float32)
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("concat: expected at least one tensor, got none")
    return Concat.apply(*tensors, axis=axis)


class Concat(Function):
    dtypes = arguments.NUMBERS

    @staticmethod
    def forward(ctx, *arrays, axis):
        shapes = [a.shape for a in arrays]
        ndim = arrays[0].ndim
        axis = arguments.axis("concat", axis, ndim)
        rest = {s[:axis] + s[axis + 1 :] if len(s) == ndim else None for s in shapes}
        if len(rest) != 1:
            raise ValueError(f"concat: shapes {', '.join(map(str, shapes))} must agree except along axis {axis}")
        ctx.axis, ctx.lengths = axis, [s[axis] for s in shapes]
        return backend.get_xp(arrays[0]).concatenate(arrays, axis=axis)

    @staticmethod
    def backward(ctx, dy):
        pieces, start = [], 0
        for length in ctx.lengths:
            index = [slice(None)] * dy.ndim
            index[ctx.axis] = slice(start, start + length)
            pieces.append(dy[tuple(index)])
            start += length
        return tuple(pieces)


def pad(x: Tensor, widths: Iterable[tuple[int, int]], value: float = 0) -> Tensor:
    """Add a border of one value to x; dx is dy without the border.

    Parameters
    ----------
    x : Tensor
    widths : sequence of (int, int)
        Elements before and after, for each axis.
    value : number

    Raises
    ------
    TypeError, ValueError
        If `widths` is not one pair >= 0 for each axis, or the dtype of `x` cannot hold `value`.

    Examples
    --------
    >>> pad(Tensor([1.0]), [(1, 2)]).data
    array([0., 1., 0., 0.], dtype=float32)
    """
    pairs = [tuple(arguments.integer("pad", "widths", n) for n in pair) for pair in widths]
    return Pad.apply(x, widths=pairs, value=value)


class Pad(Function):
    dtypes = arguments.NUMBERS

    @staticmethod
    def forward(ctx, x, *, widths, value):
        if len(widths) != x.ndim or any(len(pair) != 2 or min(pair) < 0 for pair in widths):
            raise ValueError(
                f"pad: widths {widths} must be pairs (before, after) >= 0, one per axis of x {x.shape}"
            )
        value = arguments.fitting("pad", "value", value, x.dtype)
        ctx.inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))
        return backend.get_xp(x).pad(x, widths, constant_values=value)

    @staticmethod
    def backward(ctx, dy):
        return dy[ctx.inside]


def getitem(x: Tensor, index: Any) -> Tensor:
    """Take elements: y = x[index]. dx is dy added into zeros at index, so an element taken twice gets both.

    Parameters
    ----------
    x : Tensor
    index : int, slice, array of int, or tuple of these
        As in NumPy. Tensors of int serve as arrays. Indices in an array on a GPU are taken modulo the length, as
        in CuPy: a check of their range would make the host wait.

    Raises
    ------
    IndexError
        If x has no such element.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> getitem(x, [0, 0, 2]).sum().backward()
    >>> x.grad
    array([2., 0., 1.], dtype=float32)
    """
    items = index if isinstance(index, tuple) else (index,)
    items = tuple(i.data if isinstance(i, Tensor) else i for i in items)
    index = items if isinstance(index, tuple) else items[0]
    if isinstance(x, Tensor) and backend.device_of(x.data) == "gpu" and not any(map(backend.is_array, items)):
        np.broadcast_to(np.False_, x.shape)[
            index
        ]  # raises IndexError, where CuPy would take a list modulo the length
    return Getitem.apply(x, index=index)


class Getitem(Function):
    dtypes = arguments.NUMBERS

    @staticmethod
    def forward(ctx, x, *, index):
        ctx.shape = x.shape
        if ctx.needs[0]:  # a copy: the caller may change an array of indices before the backward pass
            ctx.index = copy.deepcopy(index)
        return x[index]

    @staticmethod
    def backward(ctx, dy):
        xp = backend.get_xp(dy)
        dx = xp.zeros(ctx.shape, exact.wide(dy).dtype)
        xp.add.at(dx, ctx.index, exact.wide(dy))
        return exact.narrow(dx, dy.dtype)
