"""Variants of a model, and their quantised activations; checks of the arguments."""

from collections.abc import Sequence

import numpy as np

from duonet import arguments, nn
from duonet.module import Module
from duonet.quant import Binary, Clip, LayerScaleSign, Quantizer, Ternary

VARIANTS = ("float", "baseline", "ternary", "coupled")
WEIGHTS = ("float", "binary")


def check(
    model: str,
    variant: str,
    weights: str,
    widths: Sequence[int],
    depth: int | None,
    in_shape: tuple[int, ...],
    classes: int,
    rng: np.random.Generator,
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Refuse arguments that no model can be built from.

    Parameters
    ----------
    model, variant, weights : str
    widths : sequence of int
    depth : int or None
        How many widths there must be; None for any number from 1 on.
    in_shape : tuple of int
    classes : int
    rng : numpy.random.Generator

    Raises
    ------
    TypeError, ValueError
        Naming the model, what was expected and what came.

    Returns
    -------
    widths, in_shape : tuple of int
    classes : int

    Examples
    --------
    >>> check("mlp", "coupled", "binary", [8, 8], 2, (4,), 3, np.random.default_rng(0))
    ((8, 8), (4,), 3)
    """
    arguments.one_of(model, "variant", variant, VARIANTS)
    arguments.one_of(model, "weights", weights, WEIGHTS)
    arguments.generator(model, "rng", rng)
    wide, shape = (_counts(model, name, n) for name, n in (("widths", widths), ("in_shape", in_shape)))
    if len(wide) != (depth or len(wide) or 1):
        many = "" if depth is None else f"{depth} "
        raise ValueError(f"{model}: widths must be {many}positive ints, got {wide}")
    return wide, shape, arguments.integer(model, "classes", classes, at_least=1)


def _counts(model, name, numbers):
    if not isinstance(numbers, (tuple, list, np.ndarray)):
        raise TypeError(f"{model}: {name} must be a tuple of int, got {type(numbers).__name__} {numbers!r:.60}")
    return tuple(arguments.integer(model, f"{name}[{i}]", n, at_least=1) for i, n in enumerate(numbers))


def activation(variant: str) -> Module:
    """Return a fresh activation layer: ReLU for "float", binary for "baseline", ternary for the other two.

    Parameters
    ----------
    variant : str

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
    return nn.QuantActivation(Binary() if variant == "baseline" else Ternary(), Clip(0, 1))


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
