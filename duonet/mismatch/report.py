"""The mismatch of every layer, as a table that prints, saves and draws itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from duonet import arguments, parallel
from duonet.mismatch.estimators import (
    Estimate,
    coarse_gradient,
    coordinate_gradient,
    evolution_gradient,
)
from duonet.mismatch.objective import cut, sample_coordinates, weighted_layers
from duonet.mismatch.statistics import bootstrap, cosine, cosine_of, divide, jackknife, paired_products, root
from duonet.module import Module
from duonet.tensor import Tensor
from duonet.text import aligned


class LayerMismatch(NamedTuple):
    """One layer's coarse gradient compared with its smoothed gradient.

    Attributes
    ----------
    layer : str
        Path of the layer.
    cosine : float
        Cosine of the angle between the two gradients; with several parts, corrected for noise (it can then exceed
        1 by the width of its interval). NaN if a gradient is zero or indistinguishable from noise (see
        `duonet.mismatch.statistics`), or if back-propagation does not reach the layer; `note` then says so.
    raw : float
        The cosine without the correction for noise.
    low, high : float or None
        95 % interval of the cosine: a bootstrap over the measured weights where they are a sample of the layer's
        weights, else a jackknife over the parts; None with all weights and one part.
    coarse_norm, smoothed_norm : float
        Euclidean norms over the measured weights; with several parts, corrected for noise.
    ratio : float
        coarse_norm / smoothed_norm.
    opposite : float
        Share of the measured weights whose two gradients have opposite signs.
    coarse_noise, noise : float or None
        Share of a gradient's squared norm that is noise; `noise` is the smoothed gradient's, and lowers `raw` by a
        factor of √(1 − noise). Computed from several parts, or from the estimator's standard errors.
    measured, size : int
        Weights measured, and weights of the layer.
    note : str
        The `note` of the two estimates.

    Examples
    --------
    >>> LayerMismatch("conv1", 0.9, 0.9, None, None, 1.0, 2.0, 0.5, 0.1, None, None, 9, 9, "").ratio
    0.5
    """

    layer: str
    cosine: float
    raw: float
    low: float | None
    high: float | None
    coarse_norm: float
    smoothed_norm: float
    ratio: float
    opposite: float
    coarse_noise: float | None
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
    >>> coarse = [{"conv1": Estimate(np.array([1.0, 2.0, 2.0]), np.arange(3), 3)}]
    >>> smoothed = [{"conv1": Estimate(np.array([1.0, 2.0, -2.0]), np.arange(3), 3)}]
    >>> print(Mismatch.between(coarse, smoothed))
    layer  cosine  |coarse|  |smoothed|  ratio  opposite  weights
    -------------------------------------------------------------
    conv1  0.1111         3           3   1.00    33.3 %        3
    """

    def __init__(self, rows: list[LayerMismatch]):
        self.rows = rows

    @classmethod
    def between(
        cls,
        coarse: list[dict[str, Estimate]],
        smoothed: list[dict[str, Estimate]],
        rng: np.random.Generator | None = None,
    ) -> Mismatch:
        """Compare estimates with each other, layer by layer.

        Parameters
        ----------
        coarse, smoothed : list of dict
            For each part of the batch, from path to `Estimate`. `coarse` holds at least the coordinates of
            `smoothed`, which are the same in every part.
        rng : numpy.random.Generator, optional
            Draws the bootstrap where only some coordinates were measured; seed 0 by default.

        Returns
        -------
        Mismatch

        Raises
        ------
        ValueError
            If the parts differ in number, layers or coordinates.
        """
        rng = np.random.default_rng(0) if rng is None else arguments.generator("Mismatch.between", "rng", rng)
        _refuse_unlike(coarse, smoothed)
        return cls(
            [_row(path, [c[path] for c in coarse], [g[path] for g in smoothed], rng) for path in smoothed[0]]
        )

    def __getitem__(self, layer: str) -> LayerMismatch:
        """Return the row of a layer by its path; KeyError if the table has no such layer."""
        for row in self.rows:
            if row.layer == layer:
                return row
        raise KeyError(layer)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers that JSON can hold, with NaN as None.

        Returns
        -------
        dict
            "layers" is a list of dicts with the fields of `LayerMismatch`.
        """
        return {
            "layers": [
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in row._asdict().items()
                }
                for row in self.rows
            ]
        }

    def plot(self, axes: Any = None) -> Any:
        """Draw one bar for each layer, with its interval if there is one.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            New axes by default.

        Returns
        -------
        matplotlib Axes
        """
        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.figure(figsize=(6, 3), layout="constrained").subplots()
        for i, row in enumerate(self.rows):
            error = (
                None
                if row.low is None or row.high is None
                else [[max(0, row.cosine - row.low)], [max(0, row.high - row.cosine)]]
            )
            axes.bar(i, row.cosine, yerr=error, color="#7aa6d8", edgecolor="white", capsize=3)
        axes.set_xticks(range(len(self.rows)), [row.layer for row in self.rows], rotation=45, ha="right")
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set(ylabel="cosine, coarse and smoothed gradient", ylim=(min(0, *axes.get_ylim()), 1))
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def __str__(self) -> str:
        header = [
            "layer",
            "cosine",
            "95 %",
            "raw",
            "|coarse|",
            "|smoothed|",
            "ratio",
            "opposite",
            "noise",
            "weights",
        ]
        rows = [header] + [_words(row) for row in self.rows]
        shown = [k for k in range(len(header)) if any(row[k] for row in rows[1:])]
        notes = [f"{row.layer}: {row.note}" for row in self.rows if row.note]
        return "\n".join([aligned([[row[k] for k in shown] for row in rows]), *notes])

    __repr__ = __str__


@parallel.threads()
def measure(
    model: Module,
    loss: Callable[..., Tensor],
    batch: tuple[Any, Any],
    *,
    step: float = 0.1,
    layers: list[str] | None = None,
    estimator: str = "coordinate",
    parts: int = 1,
    **options: Any,
) -> Mismatch:
    """Measure, layer by layer, how far the coarse gradient points away from the smoothed loss's gradient.

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
    parts : int
        The batch is cut into this many disjoint parts of equal size, to correct for sampling noise; 1 measures
        the loss of the whole batch. With parts, `target` must be an array with a row for each sample.
    **options
        Further options of the estimator: coordinates, rng, form, memory; or samples, directions, rng.

    Returns
    -------
    Mismatch

    Raises
    ------
    ValueError
        If `estimator` is unknown, or the batch is too small for the parts; further as the estimator.
    TypeError
        If an argument is of the wrong kind: not a number, an int, a generator or a pair.

    References
    ----------
    Kim et al., BinaryDuo, ICLR 2020, which measures mismatch by this cosine.

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
    arguments.one_of("measure", "estimator", estimator, ESTIMATORS)
    layers = list(weighted_layers(model, layers))
    batches = [batch] if arguments.integer("measure", "parts", parts, at_least=1) == 1 else cut(batch, parts)
    if estimator == "coordinate" and not isinstance(options.get("coordinates"), dict):
        draw = (options.pop("coordinates", None), options.pop("rng", None))
        options["coordinates"] = sample_coordinates(model, *draw, layers)  # the same weights in every part
    smoothed = [ESTIMATORS[estimator](model, loss, part, step, layers, **options) for part in batches]
    return Mismatch.between([coarse_gradient(model, loss, part, layers) for part in batches], smoothed)


ESTIMATORS: dict[str, Callable[..., dict[str, Estimate]]] = {
    "coordinate": coordinate_gradient,
    "evolution": evolution_gradient,
}


def _refuse_unlike(coarse, smoothed):
    """Refuse estimates that cannot be paired: their parts, layers or coordinates differ."""
    if not smoothed or len(coarse) != len(smoothed):
        raise ValueError(f"Mismatch.between: coarse has {len(coarse)} parts, smoothed {len(smoothed)}")
    for path, first in smoothed[0].items():
        if not all(path in part for part in (*coarse, *smoothed)):
            raise ValueError(f"Mismatch.between: layer {path!r} is missing in some part")
        for name, parts, like in (("coarse", coarse, coarse[0][path]), ("smoothed", smoothed, first)):
            if not all(np.array_equal(part[path].coordinates, like.coordinates) for part in parts):
                raise ValueError(f"Mismatch.between: {name} has other coordinates of {path!r} in another part")
        if not np.isin(first.coordinates, coarse[0][path].coordinates).all():
            raise ValueError(f"Mismatch.between: coarse lacks some of smoothed's coordinates of {path!r}")


def _row(path, coarse, smoothed, rng):
    first = smoothed[0]
    place = {int(i): k for k, i in enumerate(coarse[0].coordinates)}
    measured = [place[int(i)] for i in first.coordinates]
    c = np.array([estimate.values[measured] for estimate in coarse])
    g = np.array([estimate.values for estimate in smoothed])
    products = paired_products(c, g)
    (_, cc, gg), several = products.sum(axis=1), len(c) > 1
    low = high = coarse_noise = noise = None
    if c.shape[1] < first.size:
        low, high = bootstrap(products, rng)
    elif several:
        low, high = jackknife(c, g)
    mean_c, mean_g = c.mean(axis=0), g.mean(axis=0)
    opposite = math.nan if np.isnan(mean_c).any() else float((mean_c * mean_g < 0).mean())
    note = "; ".join(filter(None, (first.note, coarse[0].note)))
    if several:
        coarse_noise, noise = (
            divide(float((m**2).sum() - square), float((m**2).sum())) for m, square in ((mean_c, cc), (mean_g, gg))
        )
    elif first.stderr is not None:
        noise = divide(float((first.stderr**2).sum()), float(gg))
    return LayerMismatch(
        path, cosine_of(products.sum(axis=1)), float(cosine(mean_c, mean_g)), low, high, root(cc), root(gg),
        divide(root(cc), root(gg)), opposite, coarse_noise, noise, len(measured), first.size, note,
    )  # fmt: skip


def _words(row):
    def number(value, form):
        return "" if value is None else "-" if math.isnan(value) else format(value, form)

    def percent(share, form):
        return number(share, "") if share is None or math.isnan(share) else f"{100 * share:{form}} %"

    return [
        row.layer,
        number(row.cosine, ".4f"),
        "" if row.low is None else f"{number(row.low, '.3f')} .. {number(row.high, '.3f')}",
        "" if row.coarse_noise is None else number(row.raw, ".4f"),
        number(row.coarse_norm, ".3g"),
        number(row.smoothed_norm, ".3g"),
        number(row.ratio, ".2f"),
        percent(row.opposite, ".1f"),
        percent(row.noise, ".0f"),
        f"{row.measured:,}" if row.measured == row.size else f"{row.measured:,} of {row.size:,}",
    ]
