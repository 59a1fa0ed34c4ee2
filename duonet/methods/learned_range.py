"""A staircase on a learned range: one gradient rule for all methods that learn where to clip."""

from typing import Any

import numpy as np

from duonet import backend, exact
from duonet.quant import Quantizer, Staircase, Stretched, Surrogate
from duonet.quant.activation import QuantActivation
from duonet.tensor import Function, Parameter, Tensor

LEAST = 2.0**-10  # of a range or a scale: float16 can still divide by it


class InRange(Function):
    """y = scale · S(z), z = (x − low) / (high − low), with a surrogate s for the staircase S on [0, 1].

    dx = dy scale s'(z) / (high − low);   dlow = −dx (1 − z);   dhigh = −dx z;   dscale = dy s(z);
    dshape = dy scale ∂s/∂shape.
    """

    exact = False

    @staticmethod
    def forward(ctx, x, low, high, scale, shape, *, staircase, surrogate):
        return scale * staircase(_read(ctx, x, low, high, scale, shape, surrogate))

    @staticmethod
    def smooth(ctx, x, low, high, scale, shape, *, staircase, surrogate):
        z = _read(ctx, x, low, high, scale, shape, surrogate)
        return scale * surrogate.value(z, *_given(shape))

    @staticmethod
    def backward(ctx, dy):
        slope, z, soft, by_shape = ctx.kept
        dx = exact.chain(dy, slope)
        inside = exact.select(slope != 0, z)  # z may be infinite outside
        dshape = None if by_shape is None else exact.chain(dy, by_shape)
        return dx, -dx * (1 - inside), -dx * inside, exact.chain(dy, soft), dshape


def _given(shape):
    return () if shape is None else (shape,)


def _read(ctx, x, low, high, scale, shape, surrogate):
    z = (x - low) / (high - low)
    if any(ctx.needs):
        slope = surrogate.derivative(z, *_given(shape)).astype(x.dtype) * (scale / (high - low))
        by_shape = None if shape is None else scale * surrogate.by_shape(z, shape)
        ctx.kept = slope, z, surrogate.value(z, *_given(shape)), by_shape
    return z


class Within(Function):
    """y = min(max(x, least), most).   dx = dy, so that a number outside the bounds can come back."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, least, most):
        return backend.get_xp(x).clip(x, least, most)

    @staticmethod
    def smooth(ctx, x, *, least, most):
        return x.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


def in_range(
    x: Tensor,
    low: Tensor | float,
    high: Tensor,
    scale: Tensor | float,
    staircase: Staircase,
    surrogate: Surrogate,
    shape: Tensor | None = None,
) -> Tensor:
    """Apply a staircase on [0, 1] to a range: y = scale · S(z), z = (x − low) / (high − low).

    The derivatives are those of the surrogate s on the same range: dx = dy · scale · s'(z) / (high − low),
    dlow = −Σ dx (1 − z), dhigh = −Σ dx z, dscale = Σ dy s(z). So `check_gradients(against="surrogate")` holds.

    Parameters
    ----------
    x : Tensor
        Any shape.
    low, high, scale : Tensor or number
        Without axes; `low` below `high`. `positive` can keep them apart.
    staircase : Staircase
        Its thresholds between 0 and 1.
    surrogate : Surrogate
        Rising from 0 to 1.
    shape : Tensor, optional
        A learned number of the surrogate. The surrogate then has value(z, shape), derivative(z, shape) and
        by_shape(z, shape), the derivative by the learned number.

    Returns
    -------
    Tensor
        Shape and dtype of `x`.

    Examples
    --------
    >>> from duonet.quant import Clip, Ternary
    >>> x, alpha = Tensor([0.1, 0.6, 1.9, 3.0]), Tensor(2.0, requires_grad=True)
    >>> y = in_range(x, 0.0, alpha, alpha, Ternary(), Clip(0, 1))
    >>> y.data
    array([0., 1., 2., 2.], dtype=float32)
    >>> y.sum().backward()
    >>> alpha.grad
    array(1., dtype=float32)
    """
    return InRange.apply(x, low, high, scale, shape, staircase=staircase, surrogate=surrogate)


def positive(x: Tensor, least: float = LEAST) -> Tensor:
    """Keep a learned number positive in use: y = max(x, least), dx = dy.

    Parameters
    ----------
    x : Tensor
    least : number

    Returns
    -------
    Tensor

    Examples
    --------
    >>> positive(Tensor([-1.0, 2.0])).data.tolist()
    [0.0009765625, 2.0]
    """
    return within(x, least, float(np.finfo(x.dtype).max))


def within(x: Tensor, least: float, most: float) -> Tensor:
    """Keep a learned number within bounds in use: y = min(max(x, least), most), dx = dy.

    Parameters
    ----------
    x : Tensor
    least, most : number

    Returns
    -------
    Tensor

    Examples
    --------
    >>> within(Tensor([-1.0, 0.25, 2.0]), 0, 1).data
    array([0.  , 0.25, 1.  ], dtype=float32)
    """
    return Within.apply(x, least=x.dtype.type(least), most=x.dtype.type(most))


class LearnedRange(Quantizer):
    """Base of quantisers that learn a few numbers; the constructor's arguments say where each starts.

    Examples
    --------
    >>> from duonet.methods import PACT
    >>> isinstance(PACT(), LearnedRange)
    True
    """

    def read(self) -> tuple[Any, ...]:
        """Return the arguments of `in_range` after x, from the present learned numbers."""
        raise NotImplementedError(f"{type(self).__name__} does not define read()")

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        return in_range(x, *self.read())

    def fixed(self) -> QuantActivation:
        """Return the same staircase with the present range, in float64."""
        low, high, scale, *rest = (n.numpy().item() if isinstance(n, Tensor) else n for n in self.read())
        staircase, surrogate = rest[:2]
        thresholds = [low + t * (high - low) for t in staircase.thresholds]
        steps = Staircase(thresholds, [scale * level for level in staircase.levels])
        return QuantActivation(steps, Stretched(surrogate, low, high, scale))

    def _learn(self, **starts):
        self._starts = starts
        for name, start in starts.items():
            setattr(self, name, Parameter(np.float32(start)))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Set every learned number back to its start; nothing is drawn."""
        for name, start in self._starts.items():
            parameter = getattr(self, name)
            value = np.asarray(start, parameter.dtype)
            parameter.data[...] = backend.to_device(value, backend.device_of(parameter.data))
            parameter.changed()
