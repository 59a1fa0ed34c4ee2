"""Quantised activations and weights: staircases, surrogates, and the op that pairs them."""

from duonet.quant.activation import quantize
from duonet.quant.staircase import Binary, FoldedStaircase, Sign, Staircase, Ternary, Uniform
from duonet.quant.surrogate import (
    Clip,
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    Surrogate,
    SwishSign,
    Tanh,
    Triangle,
    ZeroOne,
)
from duonet.quant.weight import filter_scale_sign, layer_scale_sign

__all__ = [
    "Binary", "Clip", "FoldedStaircase", "Identity", "Polynomial", "ReLU", "Shifted", "Sign", "Staircase",
    "Surrogate", "SwishSign", "Tanh", "Ternary", "Triangle", "Uniform", "ZeroOne",
    "filter_scale_sign", "layer_scale_sign",
    "quantize",
]  # fmt: skip
