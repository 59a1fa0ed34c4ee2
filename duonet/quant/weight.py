"""Binarised weights: the sign of a latent float weight, times a scale."""

import numpy as np

from duonet import backend, exact
from duonet.backend import Array
from duonet.quant.quantizer import Quantizer
from duonet.tensor import Function, Tensor


def sign(w: Array) -> Array:
    """Return +1 for w >= 0, −1 for w < 0."""
    return backend.get_xp(w).where(w >= 0, 1, -1).astype(w.dtype)


def mean_abs(name: str, w: Array, axes: tuple[int, ...] | None) -> Array:
    """Average |w|, summed in float64: halving w then halves the scale to the last bit, in any layout of w."""
    if not w.size:
        raise ValueError(f"{name}: w {w.shape} is empty, and has no scale")
    return backend.get_xp(w).abs(w).mean(axis=axes, dtype=np.float64).astype(w.dtype)


class SignByLayer(Function):
    """y = sign(w) · mean |w| over the layer, sign(0) = +1.   dw = dy."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        return sign(w) * mean_abs("sign_by_layer", w, None)

    @staticmethod
    def smooth(ctx, w):
        return w.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


class SignByFilter(Function):
    """y = sign(w) · α, α = mean |w| of each channel of n weights.   dw = dy (1/n + α 1[|w| < 1])."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        scale = mean_abs("sign_by_filter", w, tuple(range(w.ndim - 1)))
        if ctx.needs[0]:
            inside = backend.get_xp(w).abs(w) < 1
            ctx.slope = (exact.select(inside, scale) + scale.size / w.size).astype(w.dtype, copy=False)
        return sign(w) * scale

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.slope


class LayerScaleSign(Quantizer):
    """Weights binarised with one scale per layer: y = sign(w) · mean |w|, sign(0) = +1.   dw = dy.

    References
    ----------
    The weights of BinaryDuo's ImageNet networks (Kim et al., ICLR 2020).

    Examples
    --------
    >>> from duonet import Tensor
    >>> LayerScaleSign()(Tensor([[0.5, -1.5], [0.0, 2.0]])).data
    array([[ 1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    bits = 1
    homogeneous = two_valued = True

    def forward(self, w: Tensor) -> Tensor:
        """Map weights of any shape to two values, in the same shape."""
        return SignByLayer.apply(w)

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return 1: there is one scale for the layer."""
        return 1


class FilterScaleSign(Quantizer):
    """Weights binarised with one scale α = mean |w| for each output channel: y = sign(w) · α, sign(0) = +1.

    dw = dy (1/n + α 1[|w| < 1]), with n weights per channel.

    References
    ----------
    Rastegari et al., XNOR-Net, ECCV 2016, section 3.1.

    Examples
    --------
    >>> from duonet import Tensor
    >>> FilterScaleSign()(Tensor([[0.5, -1.0], [-1.5, 2.0]])).data
    array([[ 1. , -1.5],
           [-1. ,  1.5]], dtype=float32)
    """

    bits = 1
    homogeneous = two_valued = True

    def forward(self, w: Tensor) -> Tensor:
        """Map weights (..., OC) to two values per channel, in the same shape."""
        return SignByFilter.apply(w)

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return OC: there is one scale for each output channel."""
        return shape[-1]
