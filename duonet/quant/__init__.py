"""Quantised activations and weights: staircases, surrogates, and the op that pairs them."""

from duonet.quant.activation import quantize
from duonet.quant.quantizer import Quantizer
from duonet.quant.staircase import Binary, FoldedStaircase, Sign, Staircase, Ternary, Uniform
from duonet.quant.surrogate import (
    Clip,
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    Stretched,
    Surrogate,
    SwishSign,
    Tanh,
    Triangle,
    ZeroOne,
)
from duonet.quant.weight import FilterScaleSign, LayerScaleSign

__all__ = [
    "Binary", "Clip", "FilterScaleSign", "FoldedStaircase", "Identity", "LayerScaleSign", "Polynomial",
    "Quantizer", "ReLU", "Shifted", "Sign", "Staircase", "Stretched", "Surrogate", "SwishSign", "Tanh",
    "Ternary", "Triangle", "Uniform", "ZeroOne", "quantize",
]  # fmt: skip
