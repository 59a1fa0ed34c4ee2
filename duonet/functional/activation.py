"""Smooth and piecewise-linear activations. The staircases are in `duonet.quant`."""

from duonet import arguments, backend, exact
from duonet.functional.reduction import axes
from duonet.tensor import Function


class ReLU(Function):
    """y = max(x, 0).   dx = dy where x > 0, else 0 (the kink at 0 takes 0)."""

    name = "relu"

    @staticmethod
    def forward(ctx, x):
        ctx.mask = x > 0
        return backend.get_xp(x).maximum(x, 0)

    @staticmethod
    def backward(ctx, dy):
        return exact.select(ctx.mask, dy)


class Clip(Function):
    """y = min(max(x, low), high).   dx = dy where low < x < high, else 0."""

    @staticmethod
    def forward(ctx, x, *, low, high):
        low, high = (arguments.fitting("clip", n, v, x.dtype) for n, v in (("low", low), ("high", high)))
        if not low < high:
            raise ValueError(f"clip: low must be below high, got low={low}, high={high}")
        ctx.mask = (x > low) & (x < high)
        return backend.get_xp(x).clip(x, low, high)

    @staticmethod
    def backward(ctx, dy):
        return exact.select(ctx.mask, dy)


class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ).   dx = dy y (1 − y)."""

    @staticmethod
    def forward(ctx, x):
        # The same function as 1 / (1 + exp(-x)), which overflows for large negative x.
        ctx.y = 0.5 + 0.5 * backend.get_xp(x).tanh(0.5 * x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.y * (1 - ctx.y)


class Tanh(Function):
    """y = tanh x.   dx = dy (1 − y²)."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = backend.get_xp(x).tanh(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * (1 - ctx.y**2)


class Softmax(Function):
    """y = eˣ / Σ eˣ.   dx = y (dy − Σ dy y)."""

    @staticmethod
    def forward(ctx, x, *, axis):
        xp = backend.get_xp(x)
        y = xp.exp(x - x.max(axis=axis, keepdims=True))  # the shift cancels, and keeps exp from overflowing
        y /= y.sum(axis=axis, keepdims=True)
        ctx.y, ctx.axis = y, axis
        return y

    @staticmethod
    def backward(ctx, dy):
        return ctx.y * (dy - (dy * ctx.y).sum(axis=ctx.axis, keepdims=True))


class LogSoftmax(Function):
    """y = x − ln Σ eˣ.   dx = dy − softmax(x) Σ dy."""

    @staticmethod
    def forward(ctx, x, *, axis):
        xp = backend.get_xp(x)
        shifted = x - x.max(axis=axis, keepdims=True)
        ctx.y, ctx.axis = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True)), axis
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy - backend.get_xp(dy).exp(ctx.y) * dy.sum(axis=ctx.axis, keepdims=True)


def relu(x):
    """Cut off at zero, y = max(x, 0), with dx = dy where x > 0 and 0 elsewhere.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> relu(Tensor([-1.0, 2.0])).data
    array([0., 2.], dtype=float32)
    """
    return ReLU.apply(x)


def clip(x, low, high):
    """Limit to [low, high]; dx = dy where low < x < high and 0 elsewhere.

    Parameters
    ----------
    x : Tensor
    low, high : number

    Returns
    -------
    Tensor
        Shape of `x`.

    Raises
    ------
    TypeError, ValueError
        If `low` is not below `high`, or a bound is no number that the dtype of `x` can hold; it may be infinite.

    Examples
    --------
    >>> from duonet import Tensor
    >>> clip(Tensor([-1.0, 0.5, 2.0]), 0, 1).data
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return Clip.apply(x, low=low, high=high)


def hardtanh(x):
    """Limit to [−1, 1]; dx = dy where −1 < x < 1 and 0 elsewhere.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> hardtanh(Tensor([-3.0, 0.5])).data
    array([-1. ,  0.5], dtype=float32)
    """
    return clip(x, -1, 1)


def sigmoid(x):
    """Squash into (0, 1), y = 1 / (1 + e⁻ˣ), with dx = dy y (1 − y).

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> sigmoid(Tensor([0.0])).data
    array([0.5], dtype=float32)
    """
    return Sigmoid.apply(x)


def tanh(x):
    """Squash into (−1, 1), y = tanh x, with dx = dy (1 − y²).

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> tanh(Tensor([0.0])).data
    array([0.], dtype=float32)
    """
    return Tanh.apply(x)


def softmax(x, axis=-1):
    """Turn scores into probabilities, y = eˣ / Σ eˣ, with dx = y (dy − Σ dy y).

    Parameters
    ----------
    x : Tensor
    axis : int
        Axis along which the result sums to 1.

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> softmax(Tensor([1.0, 1.0])).data
    array([0.5, 0.5], dtype=float32)
    """
    return Softmax.apply(x, axis=axes("softmax", x, axis))


def log_softmax(x, axis=-1):
    """Compute the logarithm of `softmax`, y = x − ln Σ eˣ, with dx = dy − softmax(x) Σ dy.

    Parameters
    ----------
    x : Tensor
    axis : int
        Axis along which the probabilities sum to 1.

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> log_softmax(Tensor([0.0, 0.0])).data.round(4)
    array([-0.6931, -0.6931], dtype=float32)
    """
    return LogSoftmax.apply(x, axis=axes("log_softmax", x, axis))
