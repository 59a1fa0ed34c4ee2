"""Variants of a model, and their quantised activations; checks of the arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from duonet import arguments, nn
from duonet.module import Module
from duonet.quant import Binary, Clip, LayerScaleSign, Quantizer, Ternary, Uniform

COPIES = {"coupled": 2, "coupled3": 3}  # of each activation in the decoupled variant
VARIANTS = ("float", "baseline", "ternary", *COPIES)
WEIGHTS = ("float", "binary")


def check(
    model: str,
    variant: str,
    weights: str,
    widths: Sequence[int],
    depths: tuple[int, ...],
    in_shape: tuple[int, ...],
    classes: int,
    rng: np.random.Generator,
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Refuse arguments that no model can be built from.

    Parameters
    ----------
    model, variant, weights : str
    widths : sequence of int
    depths : tuple of int
        The allowed numbers of widths; if empty, any number from 1.
    in_shape : tuple of int
    classes : int
    rng : numpy.random.Generator

    Returns
    -------
    widths, in_shape : tuple of int
    classes : int

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; the message names the model, the argument, and its expected and its given value.

    Examples
    --------
    >>> check("mlp", "coupled", "binary", [8, 8], (2,), (4,), 3, np.random.default_rng(0))
    ((8, 8), (4,), 3)
    """
    arguments.one_of(model, "variant", variant, VARIANTS)
    arguments.one_of(model, "weights", weights, WEIGHTS)
    arguments.generator(model, "rng", rng)
    wide, shape = (_counts(model, name, n) for name, n in (("widths", widths), ("in_shape", in_shape)))
    if len(wide) not in (depths or (len(wide) or 1,)):
        many = " or ".join(map(str, depths)) + " " if depths else ""
        raise ValueError(f"{model}: widths must be {many}positive ints, got {wide}")
    return wide, shape, arguments.integer(model, "classes", classes, at_least=1)


def _counts(model, name, numbers):
    if not isinstance(numbers, (tuple, list, np.ndarray)):
        raise TypeError(f"{model}: {name} must be a tuple of int, got {type(numbers).__name__} {numbers!r:.60}")
    return tuple(arguments.integer(model, f"{name}[{i}]", n, at_least=1) for i, n in enumerate(numbers))


def activation(variant: str, window: float = 1) -> Module:
    """Return a fresh activation: ReLU for "float", binary for "baseline", 2 bits for "coupled3", else ternary.

    Parameters
    ----------
    variant : str
    window : number
        Width of the interval around ½ in which the gradient passes: 1 is from 0 to 1.

    Returns
    -------
    Module

    Examples
    --------
    >>> activation("coupled")
    QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))
    """
    if variant == "float":
        return nn.ReLU()
    clip = Clip(0, 1) if window == 1 else Clip(round((1 - window) / 2, 6), round((1 + window) / 2, 6))
    staircase = {"baseline": Binary(), "coupled3": Uniform(2)}.get(variant, Ternary())
    return nn.QuantActivation(staircase, clip)


def is_small(in_shape: tuple[int, ...]) -> bool:
    """Return whether images are under 50 pixels, too small for a network that shrinks them in its first layer.

    Parameters
    ----------
    in_shape : tuple of int

    Returns
    -------
    bool

    Examples
    --------
    >>> is_small((32, 32, 3))
    True
    """
    return max(in_shape[:2]) < 50


def stem(in_shape: tuple[int, ...], width: int, rng: np.random.Generator, small: bool = False) -> dict[str, Any]:
    """Return the first layers of a network for images: conv7 stride 2 N ReLU P, or conv3 for small images.

    Parameters
    ----------
    in_shape : tuple of int
        (H, W, C) of an image.
    width : int
        Output channels.
    rng : numpy.random.Generator
    small : bool
        Whether the images are small, as `is_small` decides.

    Returns
    -------
    dict
        From name to layer.

    Examples
    --------
    >>> stem((32, 32, 3), 4, np.random.default_rng(0), small=True)
    {'conv1': Conv2d(3, 4, 3, stride=1, padding=1, bias=False)}
    """
    if small:
        return {"conv1": nn.Conv2d(in_shape[2], width, 3, padding=1, rng=rng, bias=False)}
    return {
        "conv1": nn.Conv2d(in_shape[2], width, 7, stride=2, padding=3, rng=rng, bias=False),
        "norm1": nn.BatchNorm(width),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, stride=2, padding=1),
    }


def weight_quantizer(weights: str) -> Quantizer | None:
    """Return None for "float" weights and a new `LayerScaleSign` for "binary" ones.

    Parameters
    ----------
    weights : {"float", "binary"}

    Returns
    -------
    Quantizer or None

    Examples
    --------
    >>> weight_quantizer("binary")
    LayerScaleSign()
    """
    return LayerScaleSign() if weights == "binary" else None
