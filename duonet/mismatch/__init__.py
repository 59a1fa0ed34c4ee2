"""Gradient mismatch, measured: how far the back-propagated gradient points away from the smoothed loss's."""

from duonet.mismatch.estimators import (
    Estimate,
    coarse_gradient,
    coordinate_gradient,
    evolution_gradient,
)
from duonet.mismatch.objective import sample_coordinates
from duonet.mismatch.report import LayerMismatch, Mismatch, measure
from duonet.mismatch.statistics import cosine

__all__ = [
    "Estimate", "LayerMismatch", "Mismatch", "coarse_gradient", "coordinate_gradient", "cosine",
    "evolution_gradient", "measure", "sample_coordinates",
]  # fmt: skip
