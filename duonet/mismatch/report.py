"""The mismatch of every layer, as a table that prints, saves and draws itself."""

import math
from typing import NamedTuple

import numpy as np

from duonet.mismatch.estimators import coarse_gradient, coordinate_gradient, evolution_gradient

RESAMPLES = 1000
COVERAGE = 0.95


class LayerMismatch(NamedTuple):
    """One layer's coarse gradient held against its smoothed one.

    Attributes
    ----------
    layer : str
        Path of the layer.
    cosine : float
        Of the angle between the two; NaN where one of them is zero.
    low, high : float or None
        95 % bootstrap interval of the cosine over the measured weights; None where all weights were measured.
    coarse_norm, smoothed_norm : float
        Euclidean norms over the measured weights.
    ratio : float
        coarse_norm / smoothed_norm.
    opposite : float
        Share of the measured weights whose two gradients have opposite signs.
    noise : float or None
        Share of smoothed_norm² that is the estimator's own sampling noise, Σ stderr² / smoothed_norm², where it
        has any. It lowers the cosine by about √(1 − noise).
    measured, size : int
        Weights measured, and weights of the layer.
    note : str
        How the estimate was made, where not as asked.

    Examples
    --------
    >>> LayerMismatch("conv1", 0.9, None, None, 1.0, 2.0, 0.5, 0.1, None, 9, 9, "").ratio
    0.5
    """

    layer: str
    cosine: float
    low: float | None
    high: float | None
    coarse_norm: float
    smoothed_norm: float
    ratio: float
    opposite: float
    noise: float | None
    measured: int
    size: int
    note: str


class Mismatch:
    """A table of `LayerMismatch` rows.

    Parameters
    ----------
    rows : list of LayerMismatch

    Examples
    --------
    >>> from duonet.mismatch.estimators import Estimate
    >>> coarse = {"conv1": Estimate(np.array([1.0, 2.0, 2.0]), np.arange(3), 3)}
    >>> smoothed = {"conv1": Estimate(np.array([1.0, 2.0, -2.0]), np.arange(3), 3)}
    >>> print(Mismatch.between(coarse, smoothed))
    layer  cosine  |coarse|  |smoothed|  ratio  opposite  weights
    -------------------------------------------------------------
    conv1  0.1111         3           3   1.00    33.3 %        3
    """

    def __init__(self, rows):
        self.rows = rows

    @classmethod
    def between(cls, coarse, smoothed, rng=None):
        """Hold estimates against each other, layer by layer.

        Parameters
        ----------
        coarse, smoothed : dict
            From path to `Estimate`; `coarse` holds at least the coordinates of `smoothed`.
        rng : numpy.random.Generator, optional
            Draws the bootstrap where only some coordinates were measured; seed 0 by default.

        Returns
        -------
        Mismatch
        """
        rng = np.random.default_rng(0) if rng is None else rng
        return cls([_row(path, coarse[path], estimate, rng) for path, estimate in smoothed.items()])

    def __getitem__(self, layer):
        """Return the row of a layer, by its path."""
        for row in self.rows:
            if row.layer == layer:
                return row
        raise KeyError(layer)

    def __len__(self):
        return len(self.rows)

    def to_dict(self):
        """Return plain dicts, lists and numbers, with NaN as None, ready for JSON."""
        return {
            "layers": [
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in row._asdict().items()
                }
                for row in self.rows
            ]
        }

    def plot(self, axes=None):
        """Draw one bar a layer, with its interval where there is one.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            New ones by default.

        Returns
        -------
        matplotlib Axes
        """
        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.figure(figsize=(6, 3), layout="constrained").subplots()
        for i, row in enumerate(self.rows):
            error = None if row.low is None else [[max(0, row.cosine - row.low)], [max(0, row.high - row.cosine)]]
            axes.bar(i, row.cosine, yerr=error, color="#7aa6d8", edgecolor="white", capsize=3)
        axes.set_xticks(range(len(self.rows)), [row.layer for row in self.rows], rotation=45, ha="right")
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set(ylabel="cosine, coarse and smoothed gradient", ylim=(min(0, *axes.get_ylim()), 1))
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def __str__(self):
        header = ["layer", "cosine", "95 %", "|coarse|", "|smoothed|", "ratio", "opposite", "noise", "weights"]
        lines = [header] + [_words(row) for row in self.rows]
        shown = [k for k in range(len(header)) if any(line[k] for line in lines[1:])]
        widths = [max(len(line[k]) for line in lines) for k in shown]
        text = [
            "  ".join(line[k].ljust(w) if k == 0 else line[k].rjust(w) for k, w in zip(shown, widths)).rstrip()
            for line in lines
        ]
        text.insert(1, "-" * max(len(line) for line in text))
        return "\n".join(text + [f"{row.layer}: {row.note}" for row in self.rows if row.note])

    __repr__ = __str__


def measure(model, loss, batch, *, step=0.1, layers=None, estimator="coordinate", **options):
    """Measure, layer by layer, how far the coarse gradient points away from that of the smoothed loss.

    cos = c · g / (|c| |g|), with c from back-propagation and g from the chosen estimator, over the same weights.

    Parameters
    ----------
    model : Module
        In evaluation mode.
    loss : callable
        (output, target) to a Tensor of one element.
    batch : tuple
        (x, target).
    step : float
        ε of the coordinate discrete gradient, or σ of evolution strategies.
    layers : list of str, optional
        Paths of layers with weights; all by default.
    estimator : {"coordinate", "evolution"}
        `coordinate_gradient` or `evolution_gradient`.
    **options
        Further options of that estimator: coordinates, rng, form, memory; or samples, directions, rng.

    Returns
    -------
    Mismatch

    Raises
    ------
    ValueError
        If `estimator` is unknown; else as the estimator.

    References
    ----------
    Kim et al., BinaryDuo, ICLR 2020, section 3.

    Examples
    --------
    >>> from duonet import functional as F
    >>> from duonet.models import mlp
    >>> rng = np.random.default_rng(0)
    >>> model = mlp("ternary", inputs=8, widths=(16, 16), classes=3, rng=rng).eval()
    >>> batch = rng.standard_normal((100, 8), dtype="float32"), rng.integers(0, 3, 100)
    >>> result = measure(model, F.softmax_cross_entropy, batch, step=0.1)
    >>> bool(0.5 < result["linear1"].cosine < 1)
    True
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"measure: estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    smoothed = ESTIMATORS[estimator](model, loss, batch, step, layers, **options)
    return Mismatch.between(coarse_gradient(model, loss, batch, layers), smoothed)


ESTIMATORS = {"coordinate": coordinate_gradient, "evolution": evolution_gradient}


def cosine(a, b):
    """Compute the cosine of the angle between two vectors along the last axis; NaN where one is zero.

    Parameters
    ----------
    a, b : numpy.ndarray
        (..., K)

    Returns
    -------
    numpy.ndarray
        (...)

    Examples
    --------
    >>> float(cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])).round(4))
    0.7071
    """
    lengths = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=-1) / lengths


def _row(path, coarse, smoothed, rng):
    place = {int(i): k for k, i in enumerate(coarse.coordinates)}
    c, g = coarse.values[[place[int(i)] for i in smoothed.coordinates]], smoothed.values
    norms = [float(np.sqrt((v * v).sum())) for v in (c, g)]
    low = high = noise = None
    if len(g) < smoothed.size:
        low, high = _interval(c, g, rng)
    if smoothed.stderr is not None:
        noise = float((smoothed.stderr**2).sum() / norms[1] ** 2) if norms[1] else math.nan
    return LayerMismatch(
        path, float(cosine(c, g)), low, high, *norms, norms[0] / norms[1] if norms[1] else math.nan,
        float((c * g < 0).mean()), noise, len(g), smoothed.size, smoothed.note,
    )  # fmt: skip


def _interval(c, g, rng):
    """Bootstrap the cosine over coordinates: the middle 95 % of what resampled coordinates give."""
    cosines = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(c), len(c))
        cosines.append(cosine(c[drawn], g[drawn]))
    if np.isnan(cosines).all():
        return math.nan, math.nan
    edge = 50 * (1 - COVERAGE)
    return tuple(float(v) for v in np.nanpercentile(cosines, [edge, 100 - edge]))


def _words(row):
    def number(value, form):
        return "" if value is None else "-" if math.isnan(value) else format(value, form)

    return [
        row.layer,
        number(row.cosine, ".4f"),
        "" if row.low is None else f"{number(row.low, '.3f')} .. {number(row.high, '.3f')}",
        number(row.coarse_norm, ".3g"),
        number(row.smoothed_norm, ".3g"),
        number(row.ratio, ".2f"),
        f"{100 * row.opposite:.1f} %",
        "" if row.noise is None else "-" if math.isnan(row.noise) else f"{100 * row.noise:.0f} %",
        f"{row.measured:,}" if row.measured == row.size else f"{row.measured:,} of {row.size:,}",
    ]
