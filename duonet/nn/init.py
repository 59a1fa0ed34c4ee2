"""Initial weights, from an explicit generator."""

import math

import numpy as np

from duonet import arguments


def binaryduo_normal(rng: np.random.Generator, shape: tuple[int, ...], stride: int = 1) -> np.ndarray:
    """Draw from a normal distribution with standard deviation √(4 / n), n = k² C_in + ⌈k / stride⌉² C_out.

    n is the number of inputs of one output plus the number of outputs that one input reaches.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (KH, KW, C, OC), or (IN, OUT), which is a 1×1 kernel.
    stride : int

    Returns
    -------
    numpy.ndarray
        float32

    References
    ----------
    The published code of Kim et al., BinaryDuo, ICLR 2020.

    Examples
    --------
    >>> binaryduo_normal(np.random.default_rng(0), (3, 3, 16, 32)).std().round(2)
    np.float32(0.1)
    """
    kh, kw, channels, out_channels = kernel_shape("binaryduo_normal", shape)
    stride = arguments.integer("binaryduo_normal", "stride", stride, at_least=1)
    n = kh * kw * channels + math.ceil(kh / stride) * math.ceil(kw / stride) * out_channels
    return _normal("binaryduo_normal", rng, shape, math.sqrt(4 / n))


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], stride: int = 1, slope: float = 0) -> np.ndarray:
    """Draw from a normal distribution with standard deviation √(2 / ((1 + slope²) fan-in)).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (KH, KW, C, OC) or (IN, OUT): all axes but the last are the fan-in.
    stride : int
        Not used: all initialisers take the same arguments.
    slope : number
        The slope below 0 of the next activation: 0 for ReLU, 0.25 for a new `PReLU`, 1 without an activation.

    Returns
    -------
    numpy.ndarray
        float32

    References
    ----------
    He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10 and 15.

    Examples
    --------
    >>> he_normal(np.random.default_rng(0), (200, 100)).std().round(2)
    np.float32(0.1)
    """
    fan_in = math.prod(kernel_shape("he_normal", shape)[:-1])
    gain = 2 / (1 + arguments.number("he_normal", "slope", slope, at_least=-1e15, at_most=1e15) ** 2)
    return _normal("he_normal", rng, shape, math.sqrt(gain / fan_in))


def kernel_shape(name: str, shape: tuple[int, ...]) -> list[int]:
    """Check the shape (KH, KW, C, OC), or (IN, OUT), a 1×1 kernel, for the initialiser `name`."""
    if not isinstance(shape, (tuple, list)) or len(shape) not in (2, 4):
        raise ValueError(f"{name}: shape must be (KH, KW, C, OC) or (IN, OUT), got {shape!r:.60}")
    lengths = [arguments.integer(name, "shape", n, at_least=1) for n in shape]
    return lengths if len(shape) == 4 else [1, 1, *lengths]


def _normal(name, rng, shape, std):
    rng = arguments.generator(name, "rng", rng)
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(std)
