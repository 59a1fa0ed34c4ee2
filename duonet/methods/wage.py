"""WAGE: weights, activations and errors are whole multiples of powers of two."""

import math

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.methods.projections import clip_weights
from duonet.methods.shelf import listed
from duonet.quant import Quantizer
from duonet.tensor import Function, Tensor

SOURCE = "Wu et al., WAGE: Training and Inference with Integers, ICLR 2018"


def unit(bits: int) -> float:
    """Return σ(k) = 2^(1−k), the distance between neighbours on the grid of k bits.

    Parameters
    ----------
    bits : int
        k.

    Returns
    -------
    float

    Examples
    --------
    >>> unit(2), unit(8)
    (0.5, 0.0078125)
    """
    return 2.0 ** (1 - arguments.integer("unit", "bits", bits, at_least=1, at_most=64))


def on_grid(x: Array, bits: int) -> Array:
    """Round to the nearest multiple of σ(k) within ±(1 − σ(k)); halves go to the even multiple.

    Parameters
    ----------
    x : array
    bits : int
        k.

    Returns
    -------
    array
        dtype of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> on_grid(np.array([-1.2, -0.3, 0.1, 0.26]), 2)
    array([-0.5, -0.5,  0. ,  0.5])
    """
    step = arguments.array("on_grid", "x", x).dtype.type(unit(bits))
    return backend.get_xp(x).rint(x.clip(step - 1, 1 - step) / step) * step


def order(x: Array) -> Array:
    """Return Sh(max |x|) = 2^round(log₂ max |x|) of the whole array; 1 if the whole array is 0.

    Parameters
    ----------
    x : array

    Returns
    -------
    array
        Without axes.

    Examples
    --------
    >>> import numpy as np
    >>> [float(order(np.array([x]))) for x in (0.03, 0.7, 1.4, -1.5, 3.0, 0.0)]
    [0.03125, 0.5, 1.0, 2.0, 4.0, 1.0]
    """
    xp = backend.get_xp(x)
    largest = abs(x).max() if x.size else xp.zeros((), x.dtype)
    return xp.exp2(xp.rint(xp.log2(xp.where(largest > 0, largest, 1)))).astype(x.dtype)


class OnGrid(Function):
    """y = on_grid(x) / divisor.   dx = dy."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, bits, divisor):
        return on_grid(x, bits) / x.dtype.type(divisor)

    @staticmethod
    def smooth(ctx, x, *, bits, divisor):
        return x.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


class OnGridAbove(Function):
    """y = on_grid(max(x, 0)).   dx = dy 1[0 < x < 1 − σ]."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, bits):
        ctx.inside = (x > 0) & (x < 1 - unit(bits))
        return on_grid(backend.get_xp(x).maximum(x, 0), bits)

    @staticmethod
    def smooth(ctx, x, *, bits):
        ctx.inside = (x > 0) & (x < 1 - unit(bits))
        return x.clip(0, 1 - unit(bits))

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.inside)


class ErrorOnGrid(Function):
    """y = x.   dx = on_grid(dy / order(dy))."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, bits):
        ctx.bits = bits
        return x

    @staticmethod
    def backward(ctx, dy):
        return on_grid(dy / order(dy), ctx.bits)


@listed(20, "wage-weights", "weights", SOURCE)
class WAGEWeights(Quantizer):
    """Weights on the grid of k bits, over a power of two: y = Q(w)/s.   dw = dy.

    Q rounds to multiples of σ = 2^(1−k) within ±(1 − σ): −½, 0 and ½ for 2 bits. s keeps the outputs of a layer in
    range without batch norm: max(1, 2^round(log₂(1.5 σ / √(3/n)))) for n inputs of each output. After every step
    of the optimiser the latent weights are clipped to ±(1 − 2^(1−8)), the ends of the grid of 8 bits.

    Parameters
    ----------
    bits : int
        k, 2 to 8.

    See Also
    --------
    wage_uniform : the first weights.
    WAGESGD : the optimiser's steps.

    References
    ----------
    Wu et al., WAGE, ICLR 2018; boluoweifenda/WAGE, source/Quantize.py and myInitializer.py.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([-1.2, -0.6, -0.3, 0.1, 0.24, 0.26, 0.9])[:, None]
    >>> WAGEWeights()(Tensor(w)).data.ravel().tolist()  # of 7 inputs: s = 1
    [-0.5, -0.5, -0.5, 0.0, 0.0, 0.5, 0.5]
    """

    def __init__(self, bits: int = 2):
        super().__init__()
        self.bits = arguments.integer("WAGEWeights", "bits", bits, at_least=2, at_most=8)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., OUT); the shape stays."""
        return OnGrid.apply(w, bits=self.bits, divisor=divisor(w.shape, self.bits))

    def project(self, weight: Tensor) -> None:
        """Clip to the grid of 8 bits."""
        clip_weights(weight, 1 - unit(8))

    def _settings(self):
        return f"{self.bits} bits"


def divisor(shape: tuple[int, ...], bits: int) -> float:
    """Return s of `WAGEWeights`.

    Parameters
    ----------
    shape : tuple of int
        (..., OUT): all axes but the last are the inputs of an output.
    bits : int

    Returns
    -------
    float

    Examples
    --------
    >>> [divisor((n, 1), 2) for n in (27, 576, 1152, 2304, 8192)]
    [2.0, 8.0, 16.0, 16.0, 32.0]
    """
    inputs = max(1, math.prod(shape[:-1]))
    return max(1.0, 2.0 ** round(math.log2(1.5 * unit(bits) / math.sqrt(3 / inputs))))


@listed(20, "wage-activations", "activations", SOURCE)
class WAGEActivation(Quantizer):
    """Activations on the grid of k bits, from 0 upwards: y = Q(max(x, 0)).   dx = dy 1[0 < x < 1 − σ].

    Q rounds to multiples of σ = 2^(1−k) up to 1 − σ. One of the k bits is the sign, which is never set.

    Parameters
    ----------
    grid : int
        k, 2 to 16.

    References
    ----------
    Wu et al., WAGE, ICLR 2018; boluoweifenda/WAGE, source/Quantize.py.

    Examples
    --------
    >>> WAGEActivation()(Tensor([0.3, 0.9999, -2.0])).data
    array([0.296875 , 0.9921875, 0.       ], dtype=float32)
    """

    samplewise = by_channel = rising = copywise = True

    def __init__(self, grid: int = 8):
        super().__init__()
        self.grid = arguments.integer("WAGEActivation", "grid", grid, at_least=2, at_most=16)

    @property
    def bits(self) -> int:  # type: ignore[override]
        """All bits but the sign."""
        return self.grid - 1

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        return OnGridAbove.apply(x, bits=self.grid)

    def _settings(self):
        return f"{self.grid}"


@listed(20, "wage-errors", "gradients", SOURCE)
class WAGEErrors(Quantizer):
    """A layer that is the identity forwards, and puts the error on the grid of k bits backwards.

    dx = Q(dy / Sh(max |dy|)), Sh(x) = 2^round(log₂ x), with Q as in `WAGEWeights` and the maximum over the batch.
    The layer stands behind every activation, and behind the last layer. The size of an error is lost, and the
    optimiser must make up for it, as `WAGESGD` does. An error that is 0 everywhere stays 0. In evaluation the
    gradient passes unchanged.

    Parameters
    ----------
    gradient_bits : int
        k, 2 to 16; the authors have 8, and 12 for ImageNet.

    References
    ----------
    Wu et al., WAGE, ICLR 2018; boluoweifenda/WAGE, source/Quantize.py.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor([[0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    >>> WAGEErrors()(x).backward(np.array([[0.004, -0.02, 0.0007, 0.011]], "float32"))
    >>> x.grad.round(6)
    array([[ 0.257812, -0.992188,  0.046875,  0.703125]], dtype=float32)
    """

    samplewise = by_channel = rising = keeps_levels = copywise = translates = True

    def __init__(self, gradient_bits: int = 8):
        super().__init__()
        self.gradient_bits = arguments.integer(
            "WAGEErrors", "gradient_bits", gradient_bits, at_least=2, at_most=16
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return an input of any shape as it is; the backward pass quantises its gradient."""
        return ErrorOnGrid.apply(x, bits=self.gradient_bits) if self.training else x

    def _settings(self):
        return f"{self.gradient_bits}"
