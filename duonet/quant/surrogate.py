"""Surrogates: functions whose derivative replaces the derivative of a step. A surrogate contains no step.

A staircase has derivative zero almost everywhere, so training replaces it with the derivative of a function that
rises where the staircase rises. Any surrogate pairs with any staircase. Surrogates for sign rise around 0 from −1
to 1; `Shifted` moves a surrogate to another threshold.
"""

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend
from duonet.backend import Array
from duonet.functional.channels import distinct, per_channel, per_channel_numbers, refuse_misfit


class Surrogate:
    """A function and its derivative, elementwise on arrays.

    Examples
    --------
    >>> class Square(Surrogate):
    ...     def value(self, x):
    ...         return x**2
    ...     def derivative(self, x):
    ...         return 2 * x
    >>> Square().derivative(np.array([3.0]))
    array([6.])
    """

    def value(self, x: Array) -> Array:
        """Compute the function at `x`, in x's shape and dtype."""
        raise NotImplementedError

    def derivative(self, x: Array) -> Array:
        """Compute the derivative at `x`, in x's dtype, or as bool where every slope is 0 or 1."""
        raise NotImplementedError

    def _xp(self, x):
        """Return the array module of `x`, which must hold floats: 1 − 2 is 255 in uint8."""
        return backend.get_xp(arguments.array(type(self).__name__, "x", x))

    def _limited(self, x, bound):
        """Limit `x` to ±bound, where tanh is ±1 to the last bit: its slope of 0 must not meet an overflow."""
        xp = self._xp(x)
        bound = min(bound, float(np.finfo(x.dtype).max))
        return xp.clip(x, -bound, bound)

    def __repr__(self):
        settings = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Identity(Surrogate):
    """value x, derivative 1: the plain straight-through estimator (Bengio et al., 2013).

    Examples
    --------
    >>> Identity().derivative(np.array([-9.0, 9.0]))
    array([1., 1.])
    """

    def value(self, x: Array) -> Array:
        return x.copy()

    def derivative(self, x: Array) -> Array:
        return self._xp(x).ones_like(x)


class ReLU(Surrogate):
    """value max(x, 0), derivative 1[x > 0].

    Examples
    --------
    >>> ReLU().derivative(np.array([-1.0, 0.0, 1.0]))
    array([False, False,  True])
    """

    def value(self, x: Array) -> Array:
        return self._xp(x).maximum(x, 0)

    def derivative(self, x: Array) -> Array:
        return x > 0


class Clip(Surrogate):
    """value min(max(x, low), high), derivative 1 inside the window and 0 outside.

    Clip(0, 1) is BinaryDuo's surrogate for binary and ternary activations; Clip(-1, 1, closed=True) is the clipped
    straight-through estimator of binarised networks (Hubara et al., NeurIPS 2016), for sign.

    Parameters
    ----------
    low, high : number
    closed : bool
        Whether the two ends belong to the window: low < x < high, or low <= x <= high. The literature has both.

    Raises
    ------
    ValueError
        If `low` or `high` is not finite, or `low` is not below `high`.

    Examples
    --------
    >>> Clip(0, 1).derivative(np.array([-0.5, 0.0, 0.5, 1.0]))
    array([False, False,  True, False])
    >>> Clip(-1, 1, closed=True).derivative(np.array([-1.0, 1.5]))
    array([ True, False])
    """

    def __init__(self, low: float, high: float, closed: bool = False):
        self.low = arguments.number("Clip", "low", low)
        self.high = arguments.number("Clip", "high", high, above=low)
        self.closed = arguments.instance("Clip", "closed", closed, bool)

    def value(self, x: Array) -> Array:
        return self._xp(x).clip(x, self.low, self.high)

    def derivative(self, x: Array) -> Array:
        if self.closed:
            return (x >= self.low) & (x <= self.high)
        return (x > self.low) & (x < self.high)


class Polynomial(Surrogate):
    """value 2x + x² below 0 and 2x − x² above, ±1 beyond |x| = 1; derivative (2 − 2|x|) 1[|x| <= 1].

    ApproxSign of Bi-Real Net (Liu et al., ECCV 2018, section 3.3).

    Examples
    --------
    >>> Polynomial().derivative(np.array([-1.0, -0.5, 0.0, 2.0]))
    array([0., 1., 2., 0.])
    """

    def value(self, x: Array) -> Array:
        xp = self._xp(x)
        inside = xp.clip(x, -1, 1)
        return inside * (2 - xp.abs(inside))

    def derivative(self, x: Array) -> Array:
        xp = self._xp(x)
        return 2 * xp.maximum(1 - xp.abs(x), 0)


class SwishSign(Surrogate):
    """value 2σ(βx)[1 + βx(1 − σ(βx))] − 1, derivative β(2 − βx tanh(βx/2)) / (1 + cosh βx).

    BNN+ (Darabi et al., 2018, section 3.1).

    Parameters
    ----------
    beta : number
        Sharpness, positive; the derivative at 0 is β.

    Raises
    ------
    ValueError
        If `beta` is not positive and finite.

    Examples
    --------
    >>> SwishSign(5).derivative(np.array([0.0, 0.05, 1.0])).round(5)
    array([ 5.     ,  4.84616, -0.19499])
    """

    def __init__(self, beta: float):
        self.beta = arguments.number("SwishSign", "beta", beta, above=0)

    def value(self, x: Array) -> Array:
        """tanh(βx/2) + βx / (1 + cosh βx), the same as above written without overflow in σ."""
        x = self._limited(x, 100 / self.beta)
        t = backend.get_xp(x).tanh(0.5 * self.beta * x)
        return t + 0.5 * self.beta * x * (1 - t * t)

    def derivative(self, x: Array) -> Array:
        """β(2 − βx tanh(βx/2)) / (1 + cosh βx), with 1 / (1 + cosh u) = (1 − tanh²(u/2)) / 2."""
        x = self._limited(x, 100 / self.beta)
        t = backend.get_xp(x).tanh(0.5 * self.beta * x)
        return 0.5 * self.beta * (2 - self.beta * x * t) * (1 - t * t)


class Tanh(Surrogate):
    """value tanh(t x), derivative t (1 − tanh²(t x)).

    The soft sign of IR-Net (Qin et al., CVPR 2020, eq. 9), whose slope grows during training.

    Parameters
    ----------
    scale : number
        The slope t at 0, positive.

    Raises
    ------
    ValueError
        If `scale` is not positive and finite.

    Examples
    --------
    >>> Tanh(3).derivative(np.array([0.0]))
    array([3.])
    """

    def __init__(self, scale: float):
        self.scale = arguments.number("Tanh", "scale", scale, above=0)

    def value(self, x: Array) -> Array:
        x = self._limited(x, 100 / self.scale)
        return backend.get_xp(x).tanh(self.scale * x)

    def derivative(self, x: Array) -> Array:
        return self.scale * (1 - self.value(x) ** 2)


class Triangle(Surrogate):
    """value ½(1 + x)² below 0 and 1 − ½(1 − x)² above, 0 and 1 beyond |x| = 1; derivative max(0, 1 − |x|).

    The surrogate of Esser et al. (PNAS 2016) for a spike from 0 to 1.

    Examples
    --------
    >>> Triangle().derivative(np.array([-1.0, 0.0, 0.5]))
    array([0. , 1. , 0.5])
    """

    def value(self, x: Array) -> Array:
        xp = self._xp(x)
        inside = xp.clip(x, -1, 1)
        return 0.5 + inside - 0.5 * inside * xp.abs(inside)

    def derivative(self, x: Array) -> Array:
        xp = self._xp(x)
        return xp.maximum(1 - xp.abs(x), 0)


class Shifted(Surrogate):
    """Another surrogate moved to the right by an offset: value(x − offset), derivative(x − offset).

    Parameters
    ----------
    surrogate : Surrogate
    offset : number or (C,) array
        One number for all values, or one for each channel (the last axis of x); copied.

    Raises
    ------
    ValueError
        If `offset` is not finite or has another shape; when used, if x does not have C channels.

    Examples
    --------
    >>> Shifted(Clip(0, 1), 0.25).derivative(np.array([0.1, 0.9, 1.1, 1.3]))
    array([False,  True,  True, False])
    """

    def __init__(self, surrogate: Surrogate, offset: npt.ArrayLike):
        self.surrogate = arguments.instance("Shifted", "surrogate", surrogate, Surrogate)
        self.offset = per_channel_numbers("Shifted", "offset", offset)

    def _move(self, x):
        xp = self._xp(x)
        offset = xp.asarray(self.offset, dtype=x.dtype)
        if offset.ndim == 0:
            return x - offset
        refuse_misfit("Shifted", "offset", offset, x)
        return per_channel(xp.subtract, x, offset)

    def value(self, x: Array) -> Array:
        return self.surrogate.value(self._move(x))

    def derivative(self, x: Array) -> Array:
        return self.surrogate.derivative(self._move(x))

    def __repr__(self):
        return f"Shifted({self.surrogate}, {distinct(self.offset)})"


class Stretched(Surrogate):
    """Another surrogate stretched over a range: value height · s(z), derivative height · s'(z) / (high − low).

    z = (x − low) / (high − low).

    Parameters
    ----------
    surrogate : Surrogate
        s, which rises between 0 and 1.
    low, high : number
        The x where z is 0 and the x where z is 1; high above low.
    height : number or (C,) array
        One number for all values, or one for each channel.

    Examples
    --------
    >>> Stretched(Clip(0, 1), 0, 4, 2).derivative(np.array([-1.0, 1.0, 3.0, 5.0]))
    array([0. , 0.5, 0.5, 0. ])
    """

    def __init__(self, surrogate: Surrogate, low: float = 0, high: float = 1, height: npt.ArrayLike = 1):
        self.surrogate = arguments.instance("Stretched", "surrogate", surrogate, Surrogate)
        self.low = arguments.number("Stretched", "low", low)
        self.high = arguments.number("Stretched", "high", high, above=low)
        self.height = per_channel_numbers("Stretched", "height", height)

    def _read(self, x, function, width):
        height = self._xp(x).asarray(self.height / width, dtype=x.dtype)
        return height * function((x - self.low) / (self.high - self.low))

    def value(self, x: Array) -> Array:
        return self._read(x, self.surrogate.value, 1)

    def derivative(self, x: Array) -> Array:
        return self._read(x, self.surrogate.derivative, self.high - self.low)

    def __repr__(self):
        return f"Stretched({self.surrogate}, {self.low}, {self.high}, {distinct(self.height)})"


class ZeroOne(Surrogate):
    """A surrogate s for sign, moved to the step from 0 to 1: value ½(1 + s(2x − 1)), derivative s'(2x − 1).

    The window [−1, 1] around sign's step becomes [0, 1]: ZeroOne(Clip(-1, 1)) is Clip(0, 1).

    Parameters
    ----------
    surrogate : Surrogate
        Rising from −1 to 1 around 0.

    Examples
    --------
    >>> ZeroOne(Polynomial()).derivative(np.array([0.0, 0.25, 0.5, 1.5]))
    array([0., 1., 2., 0.])
    """

    def __init__(self, surrogate: Surrogate):
        self.surrogate = arguments.instance("ZeroOne", "surrogate", surrogate, Surrogate)

    def _move(self, x):
        return 2 * arguments.array("ZeroOne", "x", x) - 1

    def value(self, x: Array) -> Array:
        return 0.5 * (1 + self.surrogate.value(self._move(x)))

    def derivative(self, x: Array) -> Array:
        return self.surrogate.derivative(self._move(x))

    def __repr__(self):
        return f"ZeroOne({self.surrogate})"
