"""A staircase read through a range that is learned: one gradient rule for all methods that learn where to clip."""

import numpy as np

from duonet import backend, exact
from duonet.quant import Quantizer, Staircase, Surrogate
from duonet.tensor import Function, Parameter, Tensor

LEAST = 2.0**-10  # of a range or a scale: float16 can still divide by it


class InRange(Function):
    """y = scale · S(z), z = (x − low) / (high − low), with a surrogate s for the staircase S on [0, 1].

    dx = dy scale s'(z) / (high − low);   dlow = −dx (1 − z);   dhigh = −dx z;   dscale = dy s(z).
    """

    exact = False

    @staticmethod
    def forward(ctx, x, low, high, scale, *, staircase, surrogate):
        return scale * staircase(_read(ctx, x, low, high, scale, surrogate))

    @staticmethod
    def smooth(ctx, x, low, high, scale, *, staircase, surrogate):
        return scale * surrogate.value(_read(ctx, x, low, high, scale, surrogate))

    @staticmethod
    def backward(ctx, dy):
        slope, z, soft = ctx.kept
        dx = exact.chain(dy, slope)
        inside = exact.select(slope != 0, z)  # z may be infinite outside
        return dx, -dx * (1 - inside), -dx * inside, exact.chain(dy, soft)


def _read(ctx, x, low, high, scale, surrogate):
    z = (x - low) / (high - low)
    if any(ctx.needs):
        slope = surrogate.derivative(z).astype(x.dtype) * (scale / (high - low))
        ctx.kept = slope, z, surrogate.value(z)
    return z


class AtLeast(Function):
    """y = max(x, least).   dx = dy, so that a number that training has pushed below can come back."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, least):
        return backend.get_xp(x).maximum(x, least)

    @staticmethod
    def smooth(ctx, x, *, least):
        return x.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


def in_range(
    x: Tensor, low: Tensor | float, high: Tensor, scale: Tensor, staircase: Staircase, surrogate: Surrogate
) -> Tensor:
    """Read a staircase on [0, 1] through a range: y = scale · S(z), z = (x − low) / (high − low).

    Derivatives are those of the surrogate s read through the same range: dx = dy · scale · s'(z) / (high − low),
    dlow = −Σ dx (1 − z), dhigh = −Σ dx z, dscale = Σ dy s(z). So `check_gradients(against="surrogate")` holds.

    Parameters
    ----------
    x : Tensor
        Any shape.
    low, high, scale : Tensor or number
        Without axes; low below high, as `positive` can see to.
    staircase : Staircase
        Its thresholds between 0 and 1.
    surrogate : Surrogate
        Rising from 0 to 1.

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
    return InRange.apply(x, low, high, scale, staircase=staircase, surrogate=surrogate)


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
    return AtLeast.apply(x, least=x.dtype.type(least))


class LearnedRange(Quantizer):
    """Base of quantisers that learn a few numbers, each of which starts where the constructor says.

    Examples
    --------
    >>> from duonet.methods import PACT
    >>> isinstance(PACT(), LearnedRange)
    True
    """

    def _learn(self, **starts):
        self._starts = starts
        for name, start in starts.items():
            setattr(self, name, Parameter(np.float32(start)))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Set what is learned back to where it started; nothing is drawn."""
        for name, start in self._starts.items():
            parameter = getattr(self, name)
            parameter.data[...] = start
            parameter.changed()
