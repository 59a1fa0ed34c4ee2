"""DSQ: each step of a staircase as a tanh that meets its neighbours."""

import math
from typing import Any

from duonet import arguments
from duonet.backend import Array
from duonet.methods.learned_range import LEAST, LearnedRange, positive, within
from duonet.methods.shelf import listed
from duonet.quant import Staircase, Stretched, Surrogate, Uniform
from duonet.quant.activation import QuantActivation
from duonet.tensor import Tensor

SOFTEST, SHARPEST = 0.99, 1e-3
SOURCE = "Gong et al., Differentiable Soft Quantization, ICCV 2019"


class DSQ(Surrogate):
    """A soft staircase on [0, 1] for `Uniform` with the same bits; n = 2^bits − 1 tanh steps that meet.

    value (i + ½ + ½ s tanh(κ r)) / n, with i = min(⌊n x⌋, n − 1), r = n x − i − ½, s = 1 / (1 − α),
    κ = ln(2/α − 1), and 0 below, 1 above;   derivative ½ s κ (1 − tanh²(κ r)) for 0 < x < 1, else 0.

    Parameters
    ----------
    bits : int
        1 to 8.
    alpha : number
        0.001 to 0.99. Towards 1 the soft staircase becomes the clip, towards 0, slowly, the staircase itself.

    Raises
    ------
    TypeError, ValueError
        If either is out of bounds.

    References
    ----------
    Gong et al., DSQ, ICCV 2019; s and κ as in dsq.py of MQBench.

    Examples
    --------
    >>> import numpy as np
    >>> soft = DSQ(2, 0.2)
    >>> soft.value(np.array([0.02, 0.25, 0.9])).round(6)
    array([0.010982, 0.270833, 0.919413])
    >>> soft.derivative(np.array([0.02, 0.25, 0.9])).round(6)
    array([0.606385, 1.029949, 1.13882 ])
    """

    def __init__(self, bits: int, alpha: float = 0.2):
        self.bits = arguments.integer("DSQ", "bits", bits, at_least=1, at_most=8)
        self.alpha = arguments.number("DSQ", "alpha", alpha, at_least=SHARPEST, at_most=SOFTEST)

    def _parts(self, x, alpha):
        """Return i, r, s, κ, tanh(κ r) and a mask of the numbers with a slope above 0."""
        xp, n = self._xp(x), 2**self.bits - 1
        if alpha is None:
            s, kappa = 1 / (1 - self.alpha), math.log(2 / self.alpha - 1)
        else:
            s, kappa = 1 / (1 - alpha), xp.log(2 / alpha - 1)
        place = n * xp.clip(x, 0, 1)
        i = xp.minimum(xp.floor(place), n - 1)
        r = place - i - 0.5
        return i, r, s, kappa, xp.tanh(kappa * r), (x > 0) & (x < 1)

    def value(self, x: Array, alpha: Array | None = None) -> Array:
        i, _, s, _, t, _ = self._parts(x, alpha)
        return (i + 0.5 + 0.5 * s * t) / (2**self.bits - 1)

    def derivative(self, x: Array, alpha: Array | None = None) -> Array:
        _, _, s, kappa, t, inside = self._parts(x, alpha)
        return 0.5 * s * kappa * (1 - t * t) * inside

    def by_shape(self, x: Array, alpha: Array) -> Array:
        """½ (s² t − 2s (1 − t²) r / (α (2 − α))) / n, with t = tanh(κ r), for 0 < x < 1, else 0."""
        _, r, s, _, t, inside = self._parts(x, alpha)
        bent = s * s * t - 2 * s * (1 - t * t) * r / (alpha * (2 - alpha))
        return 0.5 * bent / (2**self.bits - 1) * inside


@listed(17, "dsq-fixed-activations", "activations", SOURCE)
def dsq_fixed(bits: int = 2, alpha: float = 0.4) -> QuantActivation:
    """Make activations of 2^bits even levels on [0, 1]; their gradient has soft steps of fixed sharpness.

    Parameters
    ----------
    bits : int
        1 to 8.
    alpha : number
        0.001 to 0.99; MQBench keeps 0.4.

    Returns
    -------
    QuantActivation

    Examples
    --------
    >>> dsq_fixed()
    QuantActivation(Uniform(2), DSQ(bits=2, alpha=0.4))
    """
    return QuantActivation(Uniform(bits), DSQ(bits, alpha))


@listed(17, "dsq-activations", "activations", SOURCE)
@listed(17, "dsq-weights", "weights", SOURCE, bottom=-1.0)
class LearnedDSQ(LearnedRange):
    """Even levels from a learned low to high, with soft steps of learned sharpness: y = low + (high − low) S(z).

    z = (x − low) / (high − low). S is the nearest level of `Uniform`, with the gradients of `DSQ` for a learned α.
    With the value λ and the slope g of `DSQ` at z: dx = dy g;   dlow = Σ dy (1 − λ − g (1 − z));
    dhigh = Σ dy (λ − g z);   dα = Σ dy (high − low) ∂λ/∂α. Below low, dlow is Σ dy; above high, dhigh is Σ dy.

    Parameters
    ----------
    bits : int
        1 to 8.
    bottom, top : number
        The first low and high. `top` is at least 2^-10 above `bottom`, and in use high is as far above low.
    start : number
        The first α, 0.001 to 0.99; in use, α stays within these bounds.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    References
    ----------
    Gong et al., DSQ, ICCV 2019. MQBench's code keeps α at 0.4, as `dsq_fixed` does, and takes low and high from an
    observer. Other ports measure r from the upper end, and so compute another function.

    Examples
    --------
    >>> q = LearnedDSQ(2)
    >>> y = q(Tensor([-0.5, 0.1, 0.4, 1.5]))
    >>> y.data.round(3)
    array([0.   , 0.   , 0.333, 1.   ], dtype=float32)
    >>> y.sum().backward()
    >>> sorted(name for name, _ in q.named_parameters())
    ['alpha', 'high', 'low']
    """

    samplewise = by_channel = rising = True

    def __init__(self, bits: int = 2, bottom: float = 0.0, top: float = 1.0, start: float = 0.2):
        super().__init__()
        self.bits = arguments.integer("LearnedDSQ", "bits", bits, at_least=1, at_most=8)
        self.bottom = arguments.number("LearnedDSQ", "bottom", bottom)
        self.top = arguments.number("LearnedDSQ", "top", top, at_least=self.bottom + LEAST)
        self.start = arguments.number("LearnedDSQ", "start", start, at_least=SHARPEST, at_most=SOFTEST)
        self._learn(low=self.bottom, high=self.top, alpha=self.start)

    def read(self) -> tuple[Any, ...]:
        """Return the range from low to high, the levels' scale high − low, and the sharpness α."""
        alpha, wide = within(self.alpha, SHARPEST, SOFTEST), positive(self.high - self.low)
        return self.low, self.low + wide, wide, Uniform(self.bits), DSQ(self.bits), alpha

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        return super().forward(x) + self.low

    def fixed(self) -> QuantActivation:
        """Return the same staircase with the present range and sharpness."""
        low, high, alpha = (number.numpy().item() for number in (self.read()[i] for i in (0, 1, 5)))
        staircase = super().fixed().staircase
        steps = Staircase(staircase.thresholds, [low + level for level in staircase.levels])
        return QuantActivation(steps, Stretched(DSQ(self.bits, alpha), low, high, high - low))

    def _settings(self):
        return f"{self.bits} bits"
