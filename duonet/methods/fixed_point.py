"""Fixed point with optimal steps: uniform levels at the distance that suits the spread of the numbers best."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from duonet import arguments, backend
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Clip, Quantizer, Staircase, quantize
from duonet.tensor import Function, Tensor

KEPT = 0.9  # of the spread of activations, at every step
STEPS = {  # of least square error for 1 to 8 bits, for numbers of mean square 1
    "gaussian": (1.5958, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308),
    "laplace": (1.4142, 1.0874, 0.7309, 0.4610, 0.2800, 0.1657, 0.0961, 0.0548),
}
SOURCE = "Lin et al., Fixed Point Quantization of Deep Convolutional Networks, ICML 2016"


def root_mean_square(name: str, x: Array) -> Array:
    """Return √mean(x²) as a 0-d array of x's dtype, summed in float64; ValueError if x is empty.

    Examples
    --------
    >>> float(root_mean_square("here", np.array([3.0, -4.0, 5.0, 0.0])).round(4))
    3.5355
    """
    if not x.size:
        raise ValueError(f"{name}: {x.shape} is empty, and has no spread")
    xp = backend.get_xp(x)
    return xp.sqrt(xp.square(x.astype(np.float64)).mean()).astype(x.dtype)


def _table(owner, bits, density):
    bits = arguments.integer(owner, "bits", bits, at_least=1, at_most=8)
    return bits, arguments.one_of(owner, "density", density, tuple(STEPS))


class OptimalSteps(Function):
    """y = Δ (clip(⌊w/Δ⌋, −2^(k−1), 2^(k−1) − 1) + ½), Δ = the table's step times √mean(w²).   dw = dy."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, bits, factor):
        step = root_mean_square("w", w) * w.dtype.type(factor)
        half = 2 ** (bits - 1)
        xp = backend.get_xp(w)
        steps = xp.floor(w / xp.where(step > 0, step, 1).astype(w.dtype)).clip(-half, half - 1)
        return ((steps + w.dtype.type(0.5)) * step).astype(w.dtype, copy=False)

    @staticmethod
    def smooth(ctx, w, *, bits, factor):
        return w.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


@listed(3, "fixed-point-weights", "weights", SOURCE)
class FixedPointWeights(Quantizer):
    """Weights of k bits at ±Δ/2, ±3Δ/2, …; Δ has the least square error for the weights' density.

    y = Δ (clip(⌊w/Δ⌋, −2^(k−1), 2^(k−1) − 1) + ½), Δ = STEPS[density][k − 1] · √mean(w²) over the layer, computed
    at every use. dw = dy. One more bit is worth 4.8 to 5.4 dB on Gaussian weights.

    Parameters
    ----------
    bits : int
        k, 1 to 8.
    density : {"gaussian", "laplace"}

    Notes
    -----
    The gradient passes straight through, so a network can be trained with these weights, or quantised after its
    training. The steps minimise the mean square error for each density.

    References
    ----------
    Lin, Talathi, Annapureddy, Fixed Point Quantization of Deep Convolutional Networks, ICML 2016.

    Examples
    --------
    >>> FixedPointWeights(2)(Tensor([-2.0, -0.1, 0.3, 1.1])).data.round(3)
    array([-1.721, -0.574,  0.574,  0.574], dtype=float32)
    """

    homogeneous = True

    def __init__(self, bits: int = 2, density: str = "gaussian"):
        super().__init__()
        self.bits, self.density = _table("FixedPointWeights", bits, density)

    @property
    def two_valued(self) -> bool:  # type: ignore[override]
        """With one bit."""
        return self.bits == 1

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape to 2^k values; the shape stays."""
        return OptimalSteps.apply(w, bits=self.bits, factor=STEPS[self.density][self.bits - 1])

    def scales(self, shape: tuple[int, ...]) -> int:
        """One: the step."""
        return 1

    def _settings(self):
        return f"{self.bits}, {self.density!r}"


@listed(3, "fixed-point-activations", "activations", SOURCE)
class FixedPointActivations(Quantizer):
    """Activations of k bits at ±Δ/2, ±3Δ/2, …; Δ has the least square error for the activations' density.

    The layer stands behind batch norm. Δ = STEPS[density][k − 1] · s. In training, the present s first quantises
    the batch; then s becomes 0.9 s + 0.1 √mean(x²). In evaluation s stays. dx = dy inside ±2^(k−1) Δ, else 0. A
    ReLU behind the layer keeps half the levels.

    Parameters
    ----------
    bits : int
        k, 1 to 8.
    density : {"gaussian", "laplace"}

    Raises
    ------
    ValueError
        When called, if s is not above 0 and finite, or the new s would not be.

    References
    ----------
    Lin, Talathi, Annapureddy, Fixed Point Quantization of Deep Convolutional Networks, ICML 2016.

    Examples
    --------
    >>> FixedPointActivations(2).eval()(Tensor([-2.0, -0.1, 0.3, 1.1])).data.round(4)
    array([-1.4935, -0.4978,  0.4978,  1.4935], dtype=float32)
    """

    samplewise = by_channel = rising = True
    in_training = "its step follows the batch"

    def __init__(self, bits: int = 2, density: str = "gaussian"):
        super().__init__()
        self.bits, self.density = _table("FixedPointActivations", bits, density)
        self.spread = Tensor(np.float32(1))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Set the spread back to 1; nothing is drawn."""
        self.spread.data[...] = 1

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        spread = moved = float(self.spread.numpy())
        if self.training:
            moved = KEPT * spread + (1 - KEPT) * float(root_mean_square("x", x.data))
        if not (0 < spread and 0 < moved < math.inf):
            raise ValueError(f"its spread of {spread} would become {moved}, which gives no step")
        step, half = STEPS[self.density][self.bits - 1] * spread, 2 ** (self.bits - 1)
        levels = [(k + 0.5) * step for k in range(-half, half)]
        if self.training:
            self.spread.data[...] = moved
        staircase = Staircase([k * step for k in range(1 - half, half)], levels)
        return quantize(x, staircase, Clip(-half * step, half * step))

    def _settings(self):
        return f"{self.bits}, {self.density!r}"


def combined_sqnr(decibels: Sequence[float]) -> float:
    """Return the ratio of signal to quantisation noise behind several layers, from each layer's: 1/γ = Σ 1/γ_i.

    Parameters
    ----------
    decibels : sequence of number
        10 log₁₀ γ_i.

    Returns
    -------
    float
        10 log₁₀ γ.

    Raises
    ------
    ValueError
        If `decibels` is empty, or a number is not finite.

    Examples
    --------
    >>> round(combined_sqnr([20, 20, 30]), 2)
    16.78
    """
    ratios = [arguments.number("combined_sqnr", f"decibels[{i}]", d) for i, d in enumerate(decibels)]
    if not ratios:
        raise ValueError("combined_sqnr: decibels is empty")
    least = min(ratios)  # the least ratio rules the sum: no power of it overflows
    return least - 10 * math.log10(math.fsum(10 ** ((least - d) / 10) for d in ratios))


def allocate_bits(counted: Any, first: float = 8, kappa: float = 3) -> dict[str, float]:
    """Divide bits among a network's layers, so that the same noise at the output needs the fewest stored bits.

    With ρ_i weights in layer i, β_i = β_1 + (10/κ) log₁₀(ρ_1/ρ_i); at κ = 3 a layer twice as large has one bit
    less.

    Parameters
    ----------
    counted : Summary
        From `duonet.summary`.
    first : number
        Bits β_1 of the first layer, above 0.
    kappa : number
        κ, the decibels that one bit is worth, above 0.

    Returns
    -------
    dict
        From the path of each conv and linear layer to its bits, not rounded.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds, or the network has no weights.

    Notes
    -----
    The rule follows from noise that adds up, 1/γ = Σ 1/γ_i with 10 log₁₀ γ_i = κ β_i, by a Lagrange multiplier.
    For a Gaussian density κ is near 5.2.

    References
    ----------
    Lin, Talathi, Annapureddy, Fixed Point Quantization of Deep Convolutional Networks, ICML 2016.

    Examples
    --------
    >>> from duonet import nn, summary
    >>> rng = np.random.default_rng(0)
    >>> allocate_bits(summary(nn.Sequential(nn.Linear(4, 8, rng=rng), nn.Linear(8, 8, rng=rng)), (4,)))
    {'0': 8.0, '1': 6.996566...}
    """
    first = arguments.number("allocate_bits", "first", first, above=0)
    kappa = arguments.number("allocate_bits", "kappa", kappa, above=0)
    if not hasattr(counted, "rows"):
        raise TypeError(f"allocate_bits: counted must be a Summary, from summary(), got {type(counted).__name__}")
    stored: dict[str, int] = {}
    for row in counted.rows:
        if row.weights:
            stored[row.path] = stored.get(row.path, 0) + sum(row.weights.values())
    if not stored:
        raise ValueError("allocate_bits: the network has no conv or linear layer")
    largest = next(iter(stored.values()))
    return {path: first + 10 / kappa * math.log10(largest / n) for path, n in stored.items()}


def stochastic_rounding(x: Array, step: float, rng: np.random.Generator) -> Array:
    """Round to multiples of a step at random, so that the mean is x: Δ ⌊x/Δ + u⌋, u uniform from 0 to 1.

    Parameters
    ----------
    x : array
    step : number
        Δ, above 0.
    rng : numpy.random.Generator

    Returns
    -------
    array
        dtype of `x`.

    Examples
    --------
    >>> stochastic_rounding(np.array([0.25, 0.3, 0.3, 0.3]), 0.25, np.random.default_rng(0))
    array([0.25, 0.25, 0.25, 0.25])
    """
    x = arguments.array("stochastic_rounding", "x", x)
    step = x.dtype.type(arguments.number("stochastic_rounding", "step", step, above=0))
    xp = backend.get_xp(x)
    draws = xp.asarray(arguments.generator("stochastic_rounding", "rng", rng).random(x.shape, np.float32))
    return xp.floor(x / step + draws).astype(x.dtype) * step
