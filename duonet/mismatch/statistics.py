"""Cosines between noisy vectors, and their intervals.

A gradient estimated from finitely many samples is the true gradient plus noise, and noise lowers a cosine just as
mismatch does. For a quantised network the noise is large: the loss of a batch is a staircase in every weight, and
the few samples that happen to cross a threshold dominate its differences over a small step. The noise of K
disjoint parts of the batch is independent, so that products of different parts are free of noise on average:

    c · g  is estimated by  Σ_{a≠b} c_a · g_b / K(K − 1),  |c|² and |g|² alike.

This is the correction for attenuation (Spearman 1904) with the reliability estimated from the parts.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
COVERAGE = 0.95
DEVIATIONS = 1.96  # standard deviations of a normal variable to either side, for this coverage


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compute the cosine of the angle between two vectors along the last axis; NaN where one is zero.

    Parameters
    ----------
    a, b : numpy.ndarray
        (..., K), of equal shape. Integers are converted to float64.

    Returns
    -------
    numpy.ndarray
        (...)

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> float(cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])).round(4))
    0.7071
    """
    a, b = (np.asarray(v) if np.asarray(v).dtype.kind == "f" else np.asarray(v, np.float64) for v in (a, b))
    if a.shape != b.shape or not a.ndim:
        raise ValueError(f"cosine: expected two arrays of equal shape (..., K), got a {a.shape} and b {b.shape}")
    a, b = _scaled(a), _scaled(b)
    lengths = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=-1) / lengths


def _scaled(a):
    """Scale vectors by powers of two, without loss, to elements of at most 1, whose squares stay in range."""
    largest = np.abs(a).max(axis=-1, keepdims=True, initial=0)
    return np.ldexp(a, -np.frexp(largest)[1])


def paired_products(c: npt.NDArray[Any], g: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return c·g, c·c and g·g weight by weight, (3, weights), from parts (K, weights).

    With one part, the plain products; with more parts, the mean over pairs of different parts.

    Parameters
    ----------
    c, g : numpy.ndarray
        (K, weights): the two gradients of every part.

    Returns
    -------
    numpy.ndarray
        (3, weights)

    Examples
    --------
    >>> c, g = np.array([[1.0], [2.0]]), np.array([[3.0], [5.0]])
    >>> paired_products(c, g).ravel()  # (1 · 5 + 2 · 3) / 2, 1 · 2, 3 · 5
    array([ 5.5,  2. , 15. ])
    """
    k = len(c)
    pairs = ((c, g), (c, c), (g, g))
    if k == 1:
        return np.array([a[0] * b[0] for a, b in pairs])
    return np.array([a.sum(axis=0) * b.sum(axis=0) - (a * b).sum(axis=0) for a, b in pairs]) / (k * (k - 1))


def cosine_of(sums: Iterable[float]) -> float:
    """Compute c·g / √(c·c g·g) from the three sums; NaN if a squared norm is not positive.

    Parameters
    ----------
    sums : iterable of float
        c·g, c·c and g·g.

    Returns
    -------
    float

    Examples
    --------
    >>> cosine_of([3, 1, 25])
    0.6
    """
    cg, cc, gg = (float(s) for s in sums)
    return cg / math.sqrt(cc * gg) if cc > 0 and gg > 0 else math.nan


def bootstrap(products: npt.NDArray[Any], rng: np.random.Generator) -> tuple[float, float]:
    """Return the middle 95 % of the cosines of resampled weights; NaN if over 5 % of the resamples give no cosine.

    Parameters
    ----------
    products : numpy.ndarray
        (3, weights), from `paired_products`.
    rng : numpy.random.Generator
        Draws 1,000 resamples.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> c, g = np.array([[1.0, 2.0, 2.0]]), np.array([[1.0, 2.0, -2.0]])
    >>> low, high = bootstrap(paired_products(c, g), np.random.default_rng(0))
    >>> bool(low < cosine(c[0], g[0]) < high)
    True
    """
    weights = products.shape[1]
    drawn = (cosine_of(products[:, rng.integers(0, weights, weights)].sum(axis=1)) for _ in range(RESAMPLES))
    cosines = [c for c in drawn if not math.isnan(c)]
    if len(cosines) < COVERAGE * RESAMPLES:
        return math.nan, math.nan
    edge = 50 * (1 - COVERAGE)
    low, high = np.percentile(cosines, [edge, 100 - edge])
    return float(low), float(high)


def jackknife(c: npt.NDArray[Any], g: npt.NDArray[Any]) -> tuple[float, float]:
    """Return cosine ± 1.96 standard errors, from estimates without one part each; NaN with two parts.

    Parameters
    ----------
    c, g : numpy.ndarray
        (K, weights): the two gradients of every part, K > 1.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> c = g = np.array([[1.0, 2.0]] * 3)  # without noise
    >>> low, high = jackknife(c, g)
    >>> round(low, 9), round(high, 9)
    (1.0, 1.0)
    """
    k = len(c)
    if k == 2:
        return math.nan, math.nan
    left_out = [cosine_of(paired_products(np.delete(c, i, 0), np.delete(g, i, 0)).sum(axis=1)) for i in range(k)]
    stderr = math.sqrt((k - 1) * np.var(left_out))
    here = cosine_of(paired_products(c, g).sum(axis=1))
    return here - DEVIATIONS * stderr, here + DEVIATIONS * stderr


def root(square: float) -> float:
    """Return √square; NaN below 0."""
    return math.sqrt(square) if square >= 0 else math.nan


def divide(a: float, b: float) -> float:
    """Return a / b; NaN if b is 0."""
    return a / b if b else math.nan
