"""Smooth and piecewise-linear activations. The staircases are in `duonet.quant`."""

from duonet import arguments, backend, exact
from duonet.functional.reduction import axes, refuse_empty
from duonet.tensor import Function, Tensor


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
    """y = σ(x) = 1 / (1 + e⁻ˣ).   dx = dy y (1 − y), and 1 − y is σ(−x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.x, ctx.y = x, _sigmoid(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.y * _sigmoid(-ctx.x)


class Tanh(Function):
    """y = tanh x.   dx = dy (1 − y²), and 1 − y² is 4 σ(2x) σ(−2x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return backend.get_xp(x).tanh(x)

    @staticmethod
    def backward(ctx, dy):
        return dy * (4 * _sigmoid(2 * ctx.x) * _sigmoid(-2 * ctx.x))


def _sigmoid(x):
    """Compute σ(x) as e^min(x, 0) / (1 + e^−|x|), which neither overflows nor loses digits where it is near 0."""
    xp = backend.get_xp(x)
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-xp.abs(x)))


class Softmax(Function):
    """y = eˣ / Σ eˣ.   dx = y (dy − Σ dy y)."""

    @staticmethod
    def forward(ctx, x, *, axis):
        refuse_empty("softmax", x, axis)
        xp = backend.get_xp(x)
        y = xp.exp(x - x.max(axis=axis, keepdims=True))  # the shift cancels, and keeps exp from overflowing
        y /= exact.total(y, axis, keepdims=True)
        ctx.y, ctx.axis = y, axis
        return y

    @staticmethod
    def backward(ctx, dy):
        return ctx.y * (dy - exact.total(dy * ctx.y, ctx.axis, keepdims=True))


class LogSoftmax(Function):
    """y = x − ln Σ eˣ.   dx = dy − softmax(x) Σ dy."""

    @staticmethod
    def forward(ctx, x, *, axis):
        refuse_empty("log_softmax", x, axis)
        xp = backend.get_xp(x)
        shifted = x - x.max(axis=axis, keepdims=True)
        ctx.y, ctx.axis = shifted - xp.log(exact.total(xp.exp(shifted), axis, keepdims=True)), axis
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy - backend.get_xp(dy).exp(ctx.y) * exact.total(dy, ctx.axis, keepdims=True)


def relu(x: Tensor) -> Tensor:
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


def clip(x: Tensor, low: float, high: float) -> Tensor:
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


def hardtanh(x: Tensor) -> Tensor:
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


def sigmoid(x: Tensor) -> Tensor:
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


def tanh(x: Tensor) -> Tensor:
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


def softmax(x: Tensor, axis: int = -1) -> Tensor:
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


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
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
