"""Batch norm, folded into the thresholds of the next staircase: the same bits, with less work."""

import copy

import numpy as np

from duonet import backend, nn
from duonet.coupling import in_mode_of, kind
from duonet.module import Module
from duonet.nn.containers import Sequential
from duonet.quant import FoldedStaircase
from duonet.tape import no_grad
from duonet.tensor import Tensor


def fold_batch_norm(model: Module) -> Module:
    """Return a copy of a model for evaluation, whose staircases read the input of the batch norm before them.

    In evaluation, y = γ (x − mean) / σ + β rises or falls with x in every channel, rounding included. So y reaches
    a threshold where x reaches another threshold, found by bisection over the floating-point numbers. Every output
    keeps its bits, unless x is NaN, or infinite where γ is 0. Only a batch norm before a QuantActivation is
    folded, because a fold into a convolution would change the rounding. A batch norm also stays before a staircase
    whose class overrides the comparison.

    Parameters
    ----------
    model : Module
        It stays unchanged.

    Returns
    -------
    Module
        In evaluation mode; its gradients mean nothing.

    Examples
    --------
    >>> from duonet.quant import Binary, Clip
    >>> norm = nn.BatchNorm(1)
    >>> norm.beta.data[:] = 1
    >>> folded = fold_batch_norm(nn.Sequential(norm, nn.QuantActivation(Binary(), Clip(0, 1))))
    >>> folded(Tensor([[-0.51], [-0.5]])).data.ravel()
    array([0., 1.], dtype=float32)
    """
    model = copy.deepcopy(model).eval()
    for _, module in model.modules():
        if _plain(module, Sequential):
            _fold_layers(module)
    return model


def _plain(layer, cls):
    return type(layer) is kind(layer) is cls


def _fold_layers(sequence):
    layers = list(sequence.children())
    for (name, norm), (place, activation) in zip(layers, layers[1:]):
        if _plain(norm, nn.BatchNorm) and _plain(activation, nn.QuantActivation) and activation.staircase.tabular:
            folded = nn.QuantActivation(_folded(norm, activation.staircase), activation.surrogate)
            setattr(sequence, place, in_mode_of(activation, folded))
            delattr(sequence, name)


def _folded(norm, staircase):
    """Find the thresholds on x, for each channel, at which the staircase of norm(x) steps."""
    device, dtype = backend.device_of(norm.gamma.data), norm.gamma.dtype
    thresholds = np.stack([np.broadcast_to(t, norm.gamma.shape) for t in staircase.thresholds]).astype(dtype)
    rising = backend.to_device(norm.gamma.data, "cpu") >= 0

    def passed(x):
        with no_grad(), np.errstate(all="ignore"):
            y = norm(Tensor(backend.to_device(x, device))).numpy()
        return (y >= thresholds) == rising

    # Bisection between −∞, not passed, and ∞, passed, down to two neighbours.
    low, high = (np.full(thresholds.shape, _rank(dtype.type(end))) for end in (-np.inf, np.inf))
    while np.any(high > low + 1):
        middle = low // 2 + high // 2 + (low & high & 1)  # (low + high) // 2, which might overflow
        there = passed(_number(middle, dtype))
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return FoldedStaircase(_number(high, dtype), staircase.levels, ~rising)


def _rank(x):
    """Return the place of x among the floating-point numbers, counted from 0: its bits, but for the sign."""
    bits = int(np.abs(x).view(f"i{x.itemsize}"))
    return bits if x >= 0 else -bits


def _number(rank, dtype):
    """Return the numbers of some ranks."""
    return np.copysign(np.abs(rank).astype(f"i{dtype.itemsize}").view(dtype), rank).astype(dtype)
