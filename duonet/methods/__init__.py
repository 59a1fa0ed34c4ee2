"""The method shelf: quantisers of the paper's references, each a small class with its known values."""

from duonet.methods.clipped import PACT
from duonet.methods.learned_range import LearnedRange, in_range, positive
from duonet.methods.plain import sign_clipped, sign_polynomial, sign_swish, uniform
from duonet.methods.pulled import BNNPlusWeights, pull
from duonet.methods.shelf import SHELF, Entry, entries, find, listed
from duonet.methods.stochastic import Baseline, StochasticBinary, annealed_slope, unbiased_gradient
from duonet.methods.weight_bases import ABCWeights, LQWeights
from duonet.methods.weight_grids import DoReFaWeights, SAWBWeights, WRPNWeights
from duonet.methods.weight_signs import BiRealWeights, BNNWeights, StochasticWeights, XNORWeights

__all__ = [
    "ABCWeights", "BNNPlusWeights", "BNNWeights", "Baseline", "BiRealWeights", "DoReFaWeights", "Entry",
    "LQWeights", "LearnedRange", "PACT", "SAWBWeights", "SHELF", "StochasticBinary", "StochasticWeights",
    "WRPNWeights",
    "XNORWeights", "annealed_slope", "entries", "find", "in_range", "listed", "positive", "pull", "sign_clipped",
    "sign_polynomial", "sign_swish", "unbiased_gradient", "uniform",
]  # fmt: skip
