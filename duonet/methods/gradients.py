"""Gradients of few bits: a layer that is the identity forwards, and quantises the gradient backwards."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Quantizer
from duonet.tensor import Function, Tensor


class CoarseGradient(Function):
    """y = x.   dx = `quantized_gradient` of dy, with fresh draws."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, bits, rng):
        ctx.bits, ctx.rng = bits, rng
        return x

    @staticmethod
    def backward(ctx, dy):
        # Drawn with NumPy and then uploaded: the same seed gives the same gradients on the CPU and on a GPU.
        draws = backend.get_xp(dy).asarray(ctx.rng.random(dy.shape, np.float32), dtype=dy.dtype)
        return quantized_gradient(dy, ctx.bits, draws)


def quantized_gradient(dy: Array, bits: int, draws: Array | float = 0.5) -> Array:
    """Round gradients at random to 2^k levels between ± the largest gradient of their sample; the mean stays.

    g̃ = 2m [R(n clip(g/2m + ½ + (u − ½)/n, 0, 1))/n − ½], m = max |g| of the sample, n = 2^k − 1. R rounds a half
    upwards. 0 is no level; a sample with no gradient but 0 keeps its zeros.

    Parameters
    ----------
    dy : (N, ...) array
        g.
    bits : int
        k, 1 to 16.
    draws : array or number
        u, uniform from 0 to 1; at ½ there is no noise.

    Returns
    -------
    array
        Shape and dtype of `dy`.

    Examples
    --------
    >>> quantized_gradient(np.array([[0.3, -1.0, 0.05]]), 2).round(4)
    array([[ 0.3333, -1.    ,  0.3333]])
    """
    n = 2 ** arguments.integer("quantized_gradient", "bits", bits, at_least=1, at_most=16) - 1
    xp = backend.get_xp(dy)
    g = exact.wide(dy)
    largest = abs(g).max(axis=tuple(range(1, g.ndim)), keepdims=True)
    scale = xp.where(largest > 0, largest, 1).astype(g.dtype)
    steps = xp.floor(n * (g / scale / 2 + 0.5 + (draws - 0.5) / n).clip(0, 1) + 0.5)
    return xp.where(largest > 0, (2 * steps / n - 1) * scale, 0).astype(dy.dtype)


@listed(18, "dorefa-gradients", "gradients", "Zhou et al., DoReFa-Net, 2016")
class DoReFaGradients(Quantizer):
    """A layer that is the identity forwards, and rounds the gradient to k bits backwards: `quantized_gradient`.

    g̃ = 2m [R(n clip(g/2m + ½ + (u − ½)/n, 0, 1))/n − ½] with u drawn anew for every number, m = max |g| of each
    sample and n = 2^k − 1. The layer stands behind a convolution, in front of batch norm; not at the first and the
    last layer. In evaluation the gradient passes unchanged.

    Parameters
    ----------
    gradient_bits : int
        k, 1 to 16.
    rng : numpy.random.Generator

    References
    ----------
    Zhou et al., DoReFa-Net, arXiv 1606.06160; tensorpack, examples/DoReFa-Net/dorefa.py.

    Examples
    --------
    >>> x = Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    >>> y = DoReFaGradients(2, rng=np.random.default_rng(0))(x)
    >>> y.backward(np.array([[0.3, -1.0, 0.05]], "float32"))
    >>> y.data, x.grad.round(4)
    (array([[1., 2., 3.]], dtype=float32), array([[ 0.3333, -1.    ,  0.3333]], dtype=float32))
    """

    samplewise = by_channel = rising = keeps_levels = copywise = translates = True

    def __init__(self, gradient_bits: int = 6, *, rng: np.random.Generator):
        super().__init__()
        self.gradient_bits = arguments.integer(
            "DoReFaGradients", "gradient_bits", gradient_bits, at_least=1, at_most=16
        )
        self.rng = arguments.generator("DoReFaGradients", "rng", rng)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input (N, ...) as it is; the backward pass quantises its gradient."""
        return CoarseGradient.apply(x, bits=self.gradient_bits, rng=self.rng) if self.training else x

    def _settings(self):
        return f"{self.gradient_bits}"
