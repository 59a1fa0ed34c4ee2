"""Projections of latent weights after every step of the optimiser: to bounds, and to filters of mean 0."""

import numpy as np

from duonet import arguments, backend
from duonet.tensor import Tensor


def clip_weights(weight: Tensor, limit: float = 1.0) -> None:
    """Clip weights to ±limit in place: w ← min(max(w, −limit), limit).

    Far beyond ±1 a weight needs many steps to change its sign, and never does if its gradient is 0 there.

    Parameters
    ----------
    weight : Tensor
    limit : number
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If `limit` is not a number above 0.

    Examples
    --------
    >>> w = Tensor([-3.0, 0.5, 1.5])
    >>> clip_weights(w)
    >>> w.data
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    limit = arguments.number("clip_weights", "limit", limit, above=0)
    weight = arguments.instance("clip_weights", "weight", weight, Tensor)
    backend.get_xp(weight.data).clip(weight.data, -limit, limit, out=weight.data)
    weight.changed()


def centre_weights(weight: Tensor) -> None:
    """Subtract the mean over a filter's input channels from each of its weights, in place: w ← w − mean_C(w).

    Parameters
    ----------
    weight : Tensor
        (..., C, OC) with C at least 2: a single channel is its own mean, and would become 0.

    Raises
    ------
    ValueError
        If `weight` has fewer than two axes or channels.

    References
    ----------
    Code of Rastegari et al., XNOR-Net: allenai/XNOR-Net, train.lua. The paper does not mention it.

    Examples
    --------
    >>> w = Tensor([[1.0, 0.0], [3.0, 0.5]])
    >>> centre_weights(w)
    >>> w.data
    array([[-1.  , -0.25],
           [ 1.  ,  0.25]], dtype=float32)
    """
    weight = arguments.instance("centre_weights", "weight", weight, Tensor)
    if weight.ndim < 2 or weight.shape[-2] < 2:
        raise ValueError(f"centre_weights: expected w (..., C, OC) with C at least 2, got shape {weight.shape}")
    weight.data -= weight.data.mean(axis=-2, keepdims=True, dtype=np.float64).astype(weight.dtype)
