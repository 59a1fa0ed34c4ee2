"""Binarised weights: the sign of a latent float weight, times a scale."""

import numpy as np

from duonet import backend, exact
from duonet.tensor import Function


def _sign(w):
    return backend.get_xp(w).where(w >= 0, 1, -1).astype(w.dtype)


def _mean_abs(name, w, axes):
    """Average |w|, summed in float64: halving w then halves the scale to the last bit, however w is laid out."""
    if not w.size:
        raise ValueError(f"{name}: w {w.shape} is empty, and has no scale")
    return backend.get_xp(w).abs(w).mean(axis=axes, dtype=np.float64).astype(w.dtype)


class LayerScaleSign(Function):
    """y = sign(w) · mean |w| over the layer, sign(0) = +1.   dw = dy."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        return _sign(w) * _mean_abs("layer_scale_sign", w, None)

    @staticmethod
    def smooth(ctx, w):
        return w.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


class FilterScaleSign(Function):
    """y = sign(w) · α, α = mean |w| of each channel of n weights.   dw = dy (1/n + α 1[|w| < 1])."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        scale = _mean_abs("filter_scale_sign", w, tuple(range(w.ndim - 1)))
        if ctx.needs[0]:
            inside = backend.get_xp(w).abs(w) < 1
            ctx.slope = (exact.select(inside, scale) + scale.size / w.size).astype(w.dtype, copy=False)
        return _sign(w) * scale

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.slope


def layer_scale_sign(w):
    """Binarise weights with one scale a layer, y = sign(w) · mean |w|, with dw = dy.

    Parameters
    ----------
    w : Tensor
        Latent weights of any shape; sign(0) = +1.

    Returns
    -------
    Tensor
        Shape of `w`, of two values.

    References
    ----------
    The weights of BinaryDuo's ImageNet networks (Kim et al., ICLR 2020).

    Examples
    --------
    >>> from duonet import Tensor
    >>> layer_scale_sign(Tensor([[0.5, -1.5], [0.0, 2.0]])).data
    array([[ 1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    return LayerScaleSign.apply(w)


def filter_scale_sign(w):
    """Binarise weights with one scale α = mean |w| for each output channel, y = sign(w) · α.

    dw = dy (1/n + α 1[|w| < 1]), with n weights a channel.

    Parameters
    ----------
    w : Tensor
        (..., OC) latent weights; sign(0) = +1.

    Returns
    -------
    Tensor
        Shape of `w`, of two values a channel.

    References
    ----------
    Rastegari et al., XNOR-Net, ECCV 2016, section 3.1.

    Examples
    --------
    >>> from duonet import Tensor
    >>> filter_scale_sign(Tensor([[0.5, -1.0], [-1.5, 2.0]])).data
    array([[ 1. , -1.5],
           [-1. ,  1.5]], dtype=float32)
    """
    return FilterScaleSign.apply(w)


layer_scale_sign.bits = filter_scale_sign.bits = 1
# q([W/2; W/2]) = [q(W); q(W)]/2, but for rounding: the scale is a mean. `decouple` needs it.
layer_scale_sign.homogeneous = filter_scale_sign.homogeneous = True
# How many float scales go with weights of a shape.
layer_scale_sign.scales = lambda shape: 1
filter_scale_sign.scales = lambda shape: shape[-1]
