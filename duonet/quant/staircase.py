"""Staircases: functions of few levels. A staircase has thresholds and levels, and no gradient."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend
from duonet.backend import Array
from duonet.functional.channels import distinct, per_channel, per_channel_numbers, refuse_misfit

Number = float | npt.NDArray[Any]  # for each channel where it is an array


class Staircase:
    """Any rising staircase: level k where x has reached exactly k thresholds.

    y = levels[Σ_k 1[x >= thresholds[k]]]. Every step fires *at* its threshold, by comparison; rounding would
    break ties to even (`np.round(0.5) == 0`). A NaN reaches no threshold.

    Parameters
    ----------
    thresholds : sequence of K numbers or (C,) arrays
        Finite, rising; copied. An array gives each channel (last axis of x) its own threshold.
    levels : sequence of K + 1 numbers or (C,) arrays
        Finite, rising. An array gives each channel its own level.

    Raises
    ------
    ValueError
        If there are not K + 1 levels for K >= 1 thresholds, or thresholds or levels are not finite or do not rise;
        when called, if the numbers of channels of x and of the thresholds differ.
    TypeError
        If the staircase is called with integers, which would cut thresholds and levels.

    Examples
    --------
    >>> Staircase([0, 1], [-1, 0, 4])(np.array([-0.5, 0.0, 0.5, 1.0]))
    array([-1.,  0.,  0.,  4.])
    """

    def __init__(self, thresholds: Iterable[npt.ArrayLike], levels: Iterable[Number]):
        name = type(self).__name__
        self.thresholds = tuple(per_channel_numbers(name, "each threshold", t) for t in thresholds)
        self.levels: tuple[Any, ...] = tuple(
            per_channel_numbers(name, "each level", level)
            if np.ndim(level)
            else float(arguments.number(name, "each level", level))
            for level in levels
        )
        if not self.thresholds or len(self.levels) != len(self.thresholds) + 1:
            raise ValueError(
                f"{name}: expected at least one threshold and one more level than thresholds, "
                f"got {len(self.thresholds)} thresholds and {len(self.levels)} levels"
            )
        if len({np.shape(t) for t in self.thresholds + self.levels if np.ndim(t)}) > 1:
            raise ValueError(
                f"{name}: thresholds must be of one length where they are arrays, and levels of the same, "
                f"got {thresholds} and {levels}"
            )
        for what, numbers in (("thresholds", self.thresholds), ("levels", self.levels)):
            if not all(np.all(a < b) for a, b in zip(numbers, numbers[1:])):
                raise ValueError(f"{name}: {what} must rise, got {numbers}")

    @property
    def bits(self) -> int:
        """Bits that hold one output value."""
        return math.ceil(math.log2(len(self.levels)))

    @property
    def tabular(self) -> bool:
        """Whether thresholds and levels define the function: a subclass may compute something else."""
        kind = type(self)
        own = kind.__call__ is not Staircase.__call__ or kind._reached is not Staircase._reached
        return not (own or any(np.ndim(level) for level in self.levels))

    def __call__(self, x: Array) -> Array:
        """Quantise an array of any shape, keeping its dtype."""
        xp = backend.get_xp(arguments.array(type(self).__name__, "x", x))
        first, *rest = (self._reached(x, xp.asarray(t, dtype=x.dtype)) for t in self.thresholds)
        steps = first.view(np.uint8)
        for reached in rest:
            steps += reached
        if any(np.ndim(level) for level in self.levels):
            levels = np.stack(np.broadcast_arrays(*self.levels))
            refuse_misfit("quantize", "levels", levels[0], x)
            return xp.asarray(levels, dtype=x.dtype)[steps, xp.arange(x.shape[-1])]
        low, rise = self.levels[0], self.levels[1] - self.levels[0]
        even = all(level == low + k * rise for k, level in enumerate(self.levels))
        if not (even and (2 * low).is_integer() and (2 * rise).is_integer()):
            return xp.asarray(self.levels, dtype=x.dtype)[steps]
        # Whole and half numbers: arithmetic is exact in every dtype, and faster than indexing.
        y = steps.astype(x.dtype)
        if rise != 1:
            y *= x.dtype.type(rise)
        if low != 0:
            y += x.dtype.type(low)
        return y

    @staticmethod
    def _reached(x, threshold):
        if threshold.ndim == 0:
            return x >= threshold
        refuse_misfit("quantize", "thresholds", threshold, x)
        xp = backend.get_xp(x)
        return per_channel(xp.greater_equal, x, threshold, out=xp.empty(x.shape, bool))

    def __repr__(self):
        return (
            f"Staircase({[t.tolist() for t in self.thresholds]}, {[np.asarray(v).tolist() for v in self.levels]})"
        )


class FoldedStaircase(Staircase):
    """A staircase per channel that replaces batch norm and staircase; made by `duonet.fold_batch_norm`.

    y = levels[Σ_k 1[x >= thresholds[k]]], with x < thresholds[k] instead where the channel falls.

    Parameters
    ----------
    thresholds : (K, C) array
    levels : sequence of K + 1 numbers
    falls : (C,) array of bool
        Channels whose output falls where x rises, because γ is negative.

    Examples
    --------
    >>> staircase = FoldedStaircase(np.array([[0.0, 1.0]]), [0, 1], falls=np.array([False, True]))
    >>> staircase(np.array([[0.5, 0.5], [-1.0, 2.0]]))
    array([[1., 1.],
           [0., 0.]])
    """

    def __init__(self, thresholds: Iterable[npt.ArrayLike], levels: Iterable[float], falls: npt.ArrayLike):
        self.thresholds = tuple(np.asarray(t, dtype=np.float64) for t in thresholds)
        self.levels, self.falls = tuple(float(level) for level in levels), np.asarray(falls)

    def _reached(self, x, threshold):
        reached = Staircase._reached(x, threshold)
        if not self.falls.any():
            return reached
        xp = backend.get_xp(x)
        return per_channel(xp.not_equal, reached, xp.asarray(self.falls), out=reached)

    def __repr__(self):
        return f"FoldedStaircase({len(self.thresholds)} thresholds, {len(self.falls)} channels)"


class Sign(Staircase):
    """−1 for x < 0, +1 for x >= 0: sign(0) = +1.

    Examples
    --------
    >>> Sign()(np.array([-2.0, -0.0, 3.0]))
    array([-1.,  1.,  1.])
    """

    def __init__(self):
        super().__init__([0], [-1, 1])

    def __repr__(self):
        return "Sign()"


class Binary(Staircase):
    """One step: 0 below the threshold, 1 from it on, the binary activation of BinaryDuo; or two other levels.

    Parameters
    ----------
    threshold, low, high : number or (C,) array
        One number for all values, or one for each channel.

    Examples
    --------
    >>> Binary()(np.array([0.4, 0.5, 2.0]))
    array([0., 1., 1.])
    """

    def __init__(self, threshold: npt.ArrayLike = 0.5, low: Number = 0.0, high: Number = 1.0):
        super().__init__([threshold], [low, high])
        self.low, self.high = self.levels

    @property
    def threshold(self) -> Array:
        """The threshold of the step."""
        return self.thresholds[0]

    def __repr__(self):
        thresholds, low, high = map(distinct, (*self.thresholds, *self.levels))
        words = [] if thresholds == "0.5" else [thresholds]
        if (low, high) != ("0.0", "1.0"):
            words += [f"low={low}", f"high={high}"]
        return f"Binary({', '.join(words)})"


class Ternary(Staircase):
    """0 for x < ¼, ½ for ¼ <= x < ¾, 1 for x >= ¾: the ternary activation of BinaryDuo.

    The function is half the sum of two binary steps: ternary(x) = ½ · 1[x >= ¾] + ½ · 1[x >= ¼] for every x.

    Examples
    --------
    >>> Ternary()(np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    array([0. , 0.5, 0.5, 1. , 1. ])
    """

    def __init__(self):
        super().__init__([0.25, 0.75], [0, 0.5, 1])

    def __repr__(self):
        return "Ternary()"


class Uniform(Staircase):
    """2^bits evenly spaced levels from 0 to 1, as in DoReFa-Net and WRPN.

    With n = 2^bits − 1: levels k / n, thresholds (k − ½) / n.

    Parameters
    ----------
    bits : int
        1 to 8.

    Raises
    ------
    TypeError, ValueError
        If `bits` is not an int from 1 to 8.

    References
    ----------
    Zhou et al., DoReFa-Net, 2016, eq. 5; Mishra et al., WRPN, ICLR 2018.

    Examples
    --------
    >>> Uniform(2)(np.array([0.0, 0.2, 0.5, 0.9])).round(3)
    array([0.   , 0.333, 0.667, 1.   ])
    """

    def __init__(self, bits: int):
        bits = arguments.integer("Uniform", "bits", bits, at_least=1, at_most=8)
        n = 2**bits - 1
        super().__init__([(k - 0.5) / n for k in range(1, n + 1)], [k / n for k in range(n + 1)])

    def __repr__(self):
        return f"Uniform({self.bits})"
