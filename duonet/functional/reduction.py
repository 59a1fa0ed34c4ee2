"""Sums, means and maxima along axes."""

from typing import Any

import numpy as np

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.tensor import Axis, Function, Tensor


def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum along axes: y = Σ x, dx = dy repeated along these axes.

    Parameters
    ----------
    x : Tensor
    axis : int or tuple of int, optional
        All axes by default.
    keepdims : bool
        Keep each summed axis with length 1.

    Examples
    --------
    >>> from duonet import Tensor
    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).data
    array([4., 6.], dtype=float32)
    """
    return Sum.apply(x, axis=axes("sum", x, axis), keepdims=keepdims)


class Sum(Function):
    @staticmethod
    def forward(ctx, x, *, axis, keepdims):
        ctx.shape, ctx.axis, ctx.keepdims = x.shape, axis, keepdims
        return exact.total(x, axis, keepdims)

    @staticmethod
    def backward(ctx, dy):
        return _spread(dy, ctx.shape, ctx.axis, ctx.keepdims)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Average x along axes: y = Σ x / n, dx = dy / n repeated along them; `axis` and `keepdims` as for `sum`.

    ValueError if x has no elements along the axes.
    """
    return Mean.apply(x, axis=axes("mean", x, axis), keepdims=keepdims)


class Mean(Function):
    @staticmethod
    def forward(ctx, x, *, axis, keepdims):
        ctx.shape, ctx.axis, ctx.keepdims = x.shape, axis, keepdims
        refuse_empty("mean", x, axis)
        y = x.mean(axis=axis, keepdims=keepdims)
        ctx.n = x.size // (y.size or 1)
        return y

    @staticmethod
    def backward(ctx, dy):
        dx = exact.narrow(exact.wide(dy) / ctx.n, dy.dtype)
        return _spread(dx, ctx.shape, ctx.axis, ctx.keepdims)


def max(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Take the maximum along axes: dx = dy where x is the maximum, shared equally among ties.

    `axis` and `keepdims` as for `sum`. ValueError if x has no elements along the axes.

    Examples
    --------
    >>> x = Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> max(x).backward()
    >>> x.grad
    array([0. , 0.5, 0.5], dtype=float32)
    """
    return Max.apply(x, axis=axes("max", x, axis), keepdims=keepdims)


class Max(Function):
    @staticmethod
    def forward(ctx, x, *, axis, keepdims):
        refuse_empty("max", x, axis)
        y = x.max(axis=axis, keepdims=keepdims)
        ctx.hit = x == _spread(y, x.shape, axis, keepdims)
        ctx.axis, ctx.keepdims = axis, keepdims
        return y

    @staticmethod
    def backward(ctx, dy):
        ties = backend.get_xp(dy).maximum(ctx.hit.sum(axis=ctx.axis, keepdims=True), 1).astype(dy.dtype)
        return exact.select(ctx.hit, _spread(dy, ctx.hit.shape, ctx.axis, ctx.keepdims) / ties)


def _spread(y, shape, axis, keepdims):
    """Put back the axes that a reduction dropped, so that `y` broadcasts to `shape` again."""
    if axis is not None and not keepdims:
        y = backend.get_xp(y).expand_dims(y, axis)
    return backend.get_xp(y).broadcast_to(y, shape)


def refuse_empty(name: str, x: Array, axis: Axis) -> None:
    """Raise ValueError if x has no elements along the axes but the result would have some."""
    if not x.size and x.sum(axis=axis).size:
        raise ValueError(f"{name}: x {x.shape} has no elements along axis {axis}")


def axes(name: str, x: Any, axis: Axis) -> Axis:
    """Check the axes that an op reduces `x` along: an axis, a tuple of axes, or None for all."""
    if axis is None:
        return None
    several = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim if backend.is_array(x) else np.ndim(x)
    found = tuple(arguments.axis(name, a, ndim) for a in several)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    return found if isinstance(axis, tuple) else found[0]
