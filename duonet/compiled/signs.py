"""Convolution of bits with weights ±α in training, by counting signs where that is faster than tables of sums."""

import math

import numpy as np

from duonet import engine, signs
from duonet.compiled.codes import code_of, packed
from duonet.compiled.conv import Conv2d
from duonet.compiled.instructions import STEPS, SUMS, Instruction, constants, line, padded, words
from duonet.compiled.program import program
from duonet.compiled.running import given, share
from duonet.functional import conv

CHANNELS = 32  # counting takes 0.5 to 0.7 of the tables' time from 64 channels, 0.8 to 1 from 32, 1.1 to 1.4 below


@engine.twin("compiled")
class SignProduct(signs.SignProduct):
    """The plain op's twin for images of 0 and 1: whole sums, so y has the same bits. Gradients use tables."""

    @staticmethod
    def suits(x, w, bias, *, product, stride=1, padding=0):
        if product is not conv.Conv2d or not Conv2d.suits(x, w, bias, stride=stride, padding=padding):
            return False
        return w.shape[2] >= CHANNELS and code_of(x, padding > 0).levels == (0.0, 1.0)

    @staticmethod
    def forward(ctx, x, w, bias, *, product, stride, padding):
        conv.check(x, w, bias, padding)
        ctx.op, ctx.code, ctx.shape = Conv2d, code_of(x, padding > 0), x.shape
        ctx.w, ctx.stride, ctx.padding = w, stride, padding
        if ctx.needs[1]:
            ctx.indices = packed(x, ctx.code, padding)
        return count(x, w, bias, stride, padding)

    @staticmethod
    def backward(ctx, dy):
        return Conv2d.backward(ctx, dy)


def count(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, stride: int, padding: int) -> np.ndarray:
    """Convolve images of 0 and 1 with signs, scale each sum by its |w|, and add the bias.

    Parameters
    ----------
    x : numpy.ndarray
        (N, H, W, C)
    w : numpy.ndarray
        (KH, KW, C, OC): ±α, with one α for every output channel.
    bias : numpy.ndarray or None
        (OC,)
    stride, padding : int

    Returns
    -------
    numpy.ndarray
        (N, OH, OW, OC)

    Examples
    --------
    >>> x, w = np.ones((1, 1, 1, 32), "float32"), np.full((1, 1, 32, 4), -0.5, "float32")
    >>> count(x, w, None, stride=1, padding=0).ravel()
    array([-16., -16., -16., -16.], dtype=float32)
    """
    n, h, width, c = x.shape
    kh, kw, _, oc = w.shape
    oh, ow = ((size + 2 * padding - k) // stride + 1 for size, k in ((h, kh), (width, kw)))
    y = np.empty((n, oh, ow, oc), np.float32)
    limits = padded(np.full((1, c), 1, np.float32), 1, np.float32(np.nan))
    own = words((w >= 0).reshape(-1, oc))
    blocks, depth, lanes = own.shape
    image, room, scale = h * width * c, blocks * lanes, 1 + limits.size
    code = (
        Instruction(
            STEPS, 0, 0, height=h, width=width, channels=c, out_height=h, out_width=width, outputs=c,
            padded=limits.size, out_border=padding, floats=1,
        ),
        Instruction(
            SUMS, 0, image, height=h, width=width, channels=c, border=padding, kernel_height=kh, kernel_width=kw,
            stride=stride, out_height=oh, out_width=ow, outputs=oc, padded=room,
            words=limits.size, floats=scale, more=0 if bias is None else scale + 1 + oc,
        ),
    )  # fmt: skip
    nothing, one = np.zeros(limits.size, np.uint64), np.ones(1, np.float32)
    floats = one, limits, one, abs(w.reshape(-1, oc)[0]), *(() if bias is None else (bias,))
    bits = (h + 2 * padding) * line(width, c, padding, 1)
    memory = bits + 2, image + y[0].size + lanes, 4 * (depth + 1), 4 * room, image
    share(
        program, n, y.size // oc * own.size / 16, given(x).reshape(n, image),
        *constants(code, (nothing, own), (nothing,), floats, memory), y.reshape(n, math.prod(y.shape[1:])),
    )  # fmt: skip
    return y
