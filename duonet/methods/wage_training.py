"""WAGE's training: weights start on their grid, and every step is a whole number of the grid's units."""

import math
from collections.abc import Iterable

import numpy as np

from duonet import arguments, backend, exact
from duonet.methods.wage import on_grid, order, unit
from duonet.nn.init import kernel_shape
from duonet.optim import Optimizer
from duonet.tensor import Parameter


def wage_uniform(rng: np.random.Generator, shape: tuple[int, ...], stride: int = 1) -> np.ndarray:
    """Draw weights for `WAGEWeights` of 2 bits: uniform within ±max(√(3 / fan-in), ¾), on the grid of 8 bits.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (KH, KW, C, OC) or (IN, OUT): all axes but the last are the fan-in.
    stride : int
        Not used; every initialiser has this argument.

    Returns
    -------
    numpy.ndarray
        float32

    References
    ----------
    boluoweifenda/WAGE, source/myInitializer.py.

    Examples
    --------
    >>> w = wage_uniform(np.random.default_rng(0), (3, 3, 8, 16))
    >>> float(abs(w).max()), bool((w * 128 == (w * 128).round()).all())
    (0.75, True)
    """
    rng = arguments.generator("wage_uniform", "rng", rng)
    fan_in = math.prod(kernel_shape("wage_uniform", shape)[:-1])
    limit = max(math.sqrt(3 / fan_in), 1.5 * unit(2))
    return on_grid(rng.uniform(-limit, limit, shape).astype(np.float32), 8)


class WAGESGD(Optimizer):
    """Gradient descent in whole units: w ← w − sign(z) (⌊|z|⌋ + b) σ(k), z = lr · g / Sh(max |g|).

    Sh(x) = 2^round(log₂ x), with the maximum over one parameter, so the length of a gradient does not count. b is
    1 with the probability |z| − ⌊|z|⌋, else 0, so that the mean step is lr · g / Sh · σ(k), σ(k) = 2^(1−k). z is
    rounded to 16 bits first. Weights that start on the grid stay on it; `WAGEWeights` clips them after the step.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
        A power of two: the authors have 8, then 1 and ⅛ near the end.
    bits : int
        k, 2 to 16; the authors have 8, and 12 for ImageNet.
    rng : numpy.random.Generator

    Raises
    ------
    TypeError, ValueError
        As in `Optimizer`.

    References
    ----------
    Wu et al., WAGE, ICLR 2018; boluoweifenda/WAGE, source/Quantize.py.

    Examples
    --------
    >>> w = Parameter([0.0, 0.0, 0.0])
    >>> w.grad = np.array([0.25, -0.5, 0.0], "float32")
    >>> WAGESGD([w], lr=8, rng=np.random.default_rng(0)).step()
    >>> w.data * 128
    array([-4.,  8.,  0.], dtype=float32)
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 8.0, bits: int = 8, *, rng: np.random.Generator
    ):
        self.bits = arguments.integer("WAGESGD", "bits", bits, at_least=2, at_most=16)
        self.rng = arguments.generator("WAGESGD", "rng", rng)
        super().__init__(parameters, lr)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for vector in self._vectors:
            vector.gather()
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self.steps[i] += 1
                # Drawn with NumPy and then uploaded: the same seed steps alike on the CPU and on a GPU.
                draws = backend.get_xp(parameter.data).asarray(self.rng.random(parameter.shape, np.float32))
                parameter.data -= (self._units(parameter.grad, draws) * unit(self.bits)).astype(parameter.dtype)

    def _units(self, g, draws):
        """Return how many units each weight moves down."""
        g, xp = exact.wide(g), backend.get_xp(g)
        z = xp.rint(g * (self.lr / order(g)) / unit(16)) * unit(16)
        whole = xp.floor(abs(z))
        return xp.sign(z) * (whole + (draws < abs(z) - whole))
