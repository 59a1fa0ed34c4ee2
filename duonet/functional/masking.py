"""Dropout of single elements or of whole channels."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.tensor import Function, Tensor


def dropout(x: Tensor, p: float, rng: np.random.Generator, channels: bool = False) -> Tensor:
    """Zero elements at random and scale the rest: y = x mask / (1 − p), dx = dy mask / (1 − p).

    The mask is 0 with probability p, else 1, so the mean stays.

    Parameters
    ----------
    x : Tensor
        (N, ..., C)
    p : float
        From 0 to below 1.
    rng : numpy.random.Generator
    channels : bool
        Zero whole channels of an image instead of elements.

    Raises
    ------
    TypeError, ValueError
        If `p` is out of range, `rng` is not a generator, or `channels` is True and x has fewer than two axes.

    References
    ----------
    Srivastava et al., JMLR 2014; whole channels: Tompson et al., CVPR 2015.

    Examples
    --------
    >>> dropout(Tensor([[1.0, 1.0, 1.0, 1.0]]), 0.5, np.random.default_rng(0)).data
    array([[2., 2., 2., 0.]], dtype=float32)
    """
    p = arguments.number("dropout", "p", p, at_least=0, below=1)
    rng = arguments.generator("dropout", "rng", rng)
    if channels and x.ndim < 2:
        raise ValueError(f"dropout: channels=True needs x (N, ..., C), got shape {x.shape}")
    return Dropout.apply(x, p=p, rng=rng, channels=channels)


class Dropout(Function):
    @staticmethod
    def forward(ctx, x, *, p, rng, channels):
        shape = (len(x),) + (1,) * (x.ndim - 2) + x.shape[-1:] if channels else x.shape
        # Drawn with NumPy and then uploaded: the same seed drops the same elements on the CPU and on a GPU.
        keep = (rng.random(shape, np.float32) >= p) / np.float32(1 - p)
        ctx.keep = backend.get_xp(x).asarray(keep, dtype=x.dtype)
        return exact.chain(x, ctx.keep)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.keep)
