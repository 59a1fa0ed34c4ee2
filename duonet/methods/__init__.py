"""The method shelf: quantisers of the paper's references, each a small class with its known values."""

from duonet.methods.clipped import PACT
from duonet.methods.learned_range import LearnedRange, in_range, positive
from duonet.methods.plain import sign_clipped, sign_polynomial, sign_swish, uniform
from duonet.methods.shelf import SHELF, Entry, entries, find, listed

__all__ = [
    "PACT", "SHELF", "Entry", "LearnedRange", "entries", "find", "in_range", "listed", "positive", "sign_clipped",
    "sign_polynomial", "sign_swish", "uniform",
]  # fmt: skip
