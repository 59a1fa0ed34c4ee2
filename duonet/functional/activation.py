"""Smooth and piecewise-linear activations, of the shape of x. The staircases are in `duonet.quant`."""

from duonet import arguments, backend, exact
from duonet.functional.channels import refuse_misfit
from duonet.functional.reduction import axes, refuse_empty
from duonet.tensor import Function, Tensor


def relu(x: Tensor) -> Tensor:
    """Cut off at zero: y = max(x, 0), dx = dy where x > 0, else 0 (the kink at 0 takes 0)."""
    return ReLU.apply(x)


class ReLU(Function):
    name = "relu"

    @staticmethod
    def forward(ctx, x):
        ctx.mask = x > 0
        return backend.get_xp(x).maximum(x, 0)

    @staticmethod
    def backward(ctx, dy):
        return exact.select(ctx.mask, dy)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Rectify with a learned slope below zero: y = x where x > 0, else slope · x.

    dx = dy where x > 0, else dy · slope; dslope = Σ dy x over x <= 0, per channel or over all channels.

    Parameters
    ----------
    x : Tensor
        (..., C)
    slope : Tensor
        (C,), or () for one slope for all channels.

    Raises
    ------
    ValueError
        If the slope has another shape.

    References
    ----------
    He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 1.
    """
    return PReLU.apply(x, slope)


class PReLU(Function):
    name = "prelu"

    @staticmethod
    def forward(ctx, x, slope):
        if slope.ndim:
            refuse_misfit("prelu", "slope", slope, x)
        above = x > 0
        ctx.below, ctx.slope = exact.select(~above, x), backend.get_xp(x).where(above, x.dtype.type(1), slope)
        return exact.chain(x, ctx.slope)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.slope), exact.chain(dy, ctx.below)


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """Limit to an interval: y = min(max(x, low), high), dx = dy where low < x < high, else 0.

    Parameters
    ----------
    x : Tensor
    low, high : number
        Each may be infinite.

    Raises
    ------
    TypeError, ValueError
        If `low` is not below `high`, or the dtype of `x` cannot hold a bound.
    """
    return Clip.apply(x, low=low, high=high)


class Clip(Function):
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


def hardtanh(x: Tensor) -> Tensor:
    """Limit x to [−1, 1], by `clip`."""
    return clip(x, -1, 1)


def sigmoid(x: Tensor) -> Tensor:
    """Squash into (0, 1): y = σ(x) = 1 / (1 + e⁻ˣ), dx = dy y (1 − y), where 1 − y is σ(−x)."""
    return Sigmoid.apply(x)


class Sigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x, ctx.y = x, _sigmoid(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.y * _sigmoid(-ctx.x)


def tanh(x: Tensor) -> Tensor:
    """Squash into (−1, 1): y = tanh x, dx = dy (1 − y²), where 1 − y² is 4 σ(2x) σ(−2x)."""
    return Tanh.apply(x)


class Tanh(Function):
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


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Turn scores into probabilities, whose sum along `axis` is 1: y = eˣ / Σ eˣ, dx = y (dy − Σ dy y)."""
    return Softmax.apply(x, axis=axes("softmax", x, axis))


class Softmax(Function):
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


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Compute the logarithm of `softmax` along `axis`: y = x − ln Σ eˣ, dx = dy − softmax(x) Σ dy."""
    return LogSoftmax.apply(x, axis=axes("log_softmax", x, axis))


class LogSoftmax(Function):
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
