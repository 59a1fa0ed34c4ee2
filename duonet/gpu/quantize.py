"""A staircase and its surrogate's slope in one kernel; a slope of 0 and 1 takes a byte per value."""

import functools

import numpy as np

from duonet import backend, engine, exact
from duonet.backend import Array
from duonet.functional.channels import refuse_misfit
from duonet.gpu import kernels
from duonet.quant import Staircase, Surrogate
from duonet.quant import activation as plain
from duonet.quant.surrogate import Clip, Identity, ReLU, Shifted


@engine.twin("gpu")
class Quantize(plain.Quantize):
    """The plain op in one kernel forwards; backwards, a selection by a slope of bytes is one launch already."""

    @staticmethod
    def suits(x, *, staircase, **options):
        return kernels.suit(x) and staircase.tabular

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        y, ctx.slope = quantized(x, staircase, surrogate, ctx.needs[0])
        return y

    @staticmethod
    def backward(ctx, dy):
        return dy if ctx.slope is None else exact.chain(dy, ctx.slope)


def quantized(
    x: Array,
    staircase: Staircase,
    surrogate: Surrogate,
    slope: bool,
    normalization: tuple[Array | None, ...] = (None, None, None, None),
) -> tuple[Array, Array | None]:
    """Quantise an array, after a batch norm or without, and compute the slope that multiplies its gradient.

    Parameters
    ----------
    x : array
        (..., C)
    staircase : Staircase
    surrogate : Surrogate
        With `normalization` it must be `windowed`.
    slope : bool
        Whether to compute the slope.
    normalization : tuple of 4 arrays
        The mean, scale, gamma and beta of a batch norm to apply first.

    Returns
    -------
    (array, array or None)
        Both have the shape of `x`. The slope has dtype bool or that of `x`; it is None if it is 1 everywhere or
        not wanted.
    """
    xp = backend.get_xp(x)
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x)
    thresholds, levels = _table(staircase, x)
    mask, (low, high, ends, offset) = None, (0.0, 0.0, 0, None)
    if slope and windowed(surrogate) and type(surrogate) is not Identity:
        mask, (low, high, ends, offset) = xp.empty(x.shape, bool), _window(surrogate, x)
    channels = x.shape[-1] if x.ndim else 1
    kernels.launch(
        "quantize", "quantize", x.dtype, kernels.channel_blocks(x.size, channels),
        x, *normalization, thresholds, levels, offset, y, mask,
        x.size, channels, len(thresholds), int(thresholds.ndim == 2), low, high, ends,
    )  # fmt: skip
    return y, surrogate.derivative(x) if slope and not windowed(surrogate) else mask


def windowed(surrogate: Surrogate) -> bool:
    """Return whether the kernel knows the surrogate's slope: 1 everywhere, or 1 in a window and 0 outside.

    Parameters
    ----------
    surrogate : Surrogate

    Returns
    -------
    bool

    Examples
    --------
    >>> from duonet.quant import Polynomial
    >>> windowed(Shifted(Clip(0, 1), 0.25)), windowed(Polynomial())
    (True, False)
    """
    inner = surrogate.surrogate if type(surrogate) is Shifted else surrogate
    if type(inner) is Clip:  # NumPy compares with a Python number in the dtype of x, with NumPy's in their own
        return type(inner.low) in (int, float) and type(inner.high) in (int, float)
    return type(inner) is ReLU or type(surrogate) is Identity


def _window(surrogate, x):
    """Return low, high, the ends that belong to the window (1 low, 2 high), and the offset of each channel."""
    inner, offset = surrogate, None
    if type(surrogate) is Shifted:
        inner = surrogate.surrogate
        if surrogate.offset.ndim:
            refuse_misfit("Shifted", "offset", surrogate.offset, x)
        offset = _upload(np.broadcast_to(surrogate.offset, x.shape[-1:]), x)
    if type(inner) is ReLU:
        return 0.0, float("inf"), 2, offset
    return float(inner.low), float(inner.high), 3 if inner.closed else 0, offset


def _table(staircase, x):
    """Return thresholds, (steps,) or (steps, C), and levels, on the device of `x` and in its dtype."""
    thresholds = np.stack(np.broadcast_arrays(*staircase.thresholds))
    if thresholds.ndim == 2:
        refuse_misfit("quantize", "thresholds", thresholds[0], x)
    return _upload(thresholds, x), _upload(np.array(staircase.levels), x)


def _upload(numbers, x):
    device = getattr(x.device, "id", None)  # each GPU needs its own copy
    return _uploaded(backend.get_xp(x), device, x.dtype, numbers.shape, numbers.tobytes())


@functools.lru_cache(maxsize=512)
def _uploaded(xp, device, dtype, shape, numbers):
    """Copy numbers to the device, once: they are few, and every step needs the same."""
    return xp.asarray(np.frombuffer(numbers).reshape(shape).astype(dtype))
