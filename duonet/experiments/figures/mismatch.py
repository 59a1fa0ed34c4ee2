"""The figures of the mismatch study."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duonet.experiments.records import rows_of, spread, told_from_noise
from duonet.experiments.toy import ACTIVATIONS, HIDDEN, REFERENCE_STEP, SURROGATES
from duonet.viz.canvas import blank, save, tidy

STATES = {"start": "at initialisation", "trained": "in training"}

# From many levels to few, from light to dark, each with its own marker.
PRECISIONS = {
    "float": ("0.6", "o"),
    "4 bits": ("#b7d3ee", "v"),
    "3 bits": ("#7aa6d8", "^"),
    "2 bits": ("#3f75b5", "s"),
    "ternary": ("#123a6b", "D"),
    "binary": ("#b2500f", "P"),
    "sign": ("#e0a458", "X"),
}
LAYERS = dict(zip(HIDDEN, (("#7aa6d8", "o"), ("#3f75b5", "s"), ("#123a6b", "D"))))
NETWORKS = {
    "baseline": ("#b2500f", "^"),
    "coupled": ("#7aa6d8", "o"),
    "decoupled": ("#5d8a3a", "s"),
    "BinaryDuo": ("#123a6b", "D"),
}
TRUTH = {"identity": ("#7aa6d8", "o"), "relu": ("#b2500f", "s"), "clip": ("#123a6b", "D")}


def plot_mismatch(results: dict[str, Any], folder: str | Path) -> list[Path]:
    """Draw every figure of the study.

    Parameters
    ----------
    results : dict
        The result of `duonet.experiments.mismatch`.
    folder : str or Path
        The folder for the PNG files.

    Returns
    -------
    list of Path
        The files.
    """
    folder = Path(folder)
    figures = {
        "layers": _layers,
        "steps": _steps,
        "surrogates": _surrogates,
        "gallery": _gallery,
        "truth": _truth,
        "network": _network,
    }
    return [save(draw(results), folder / f"mismatch_{name}.png") for name, draw in figures.items()]


def _precisions(results):
    """Return the style of every measured activation; activations without a style share three."""
    measured = dict.fromkeys(row["activation"] for row in rows_of(results, "toy"))
    spare = itertools.cycle((("#5d8a3a", "<"), ("#8a3a7d", ">"), ("0.3", "p")))
    return {name: PRECISIONS.get(name) or next(spare) for name in measured}


def _layers(results):
    """Draw the cosine of each layer at the reference step, with one marker per activation."""
    figure = blank(10, 4)
    styles = _precisions(results)
    for axes, (state, words) in zip(figure.subplots(1, 2, sharey=True), STATES.items()):
        for k, (activation, (color, marker)) in enumerate(styles.items()):
            for i, layer in enumerate(HIDDEN):
                where = {"activation": activation, "surrogate": "clip", "state": state, "layer": layer}
                rows = rows_of(results, "toy", step=REFERENCE_STEP, **where)
                at = i + (k - (len(styles) - 1) / 2) / (len(styles) + 2)
                _point(axes, at, rows, color, marker)
        axes.set_xticks(range(3), ["first layer", "second", "third"])
        axes.set(title=f"{words}, ε = {REFERENCE_STEP}", ylabel="cosine, coarse and smoothed gradient")
        _unit_scale(axes)
    axes.set_ylabel("")
    _legend(figure, styles)
    return figure


def _steps(results):
    """Draw the cosine against ε, one panel per layer; dotted, the cosine with the noise left in."""
    figure = blank(11, 6.5)
    grid = figure.subplots(2, 3, sharey=True, sharex=True)
    styles = _precisions(results)
    for line, (state, words) in zip(grid, STATES.items()):
        for axes, layer in zip(line, HIDDEN):
            for activation, (color, marker) in styles.items():
                where = {"activation": activation, "surrogate": "clip", "state": state, "layer": layer}
                runs = {s: rows_of(results, "toy", step=s, **where) for s in results["settings"]["steps"]}
                axes.plot(list(runs), [_mean_raw(rows) for rows in runs.values()], ":", color=color, linewidth=1.2)
                for step, rows in runs.items():
                    _point(axes, step, rows, color, marker)
                means = [spread(rows)[0] for rows in runs.values()]
                axes.plot(list(runs), means, "-", color=color, linewidth=1.5)
            axes.set(xscale="log", title=f"{layer}, {words}")
            axes.set_xticks(results["settings"]["steps"], [f"{s:g}" for s in results["settings"]["steps"]])
            axes.minorticks_off()
            axes.set_xlim(0.8 * min(results["settings"]["steps"]), 1.25 * max(results["settings"]["steps"]))
            _unit_scale(axes)
        line[0].set_ylabel("cosine")
    for axes in grid[1]:
        axes.set_xlabel("step ε")
    _legend(figure, styles)
    figure.suptitle(
        "Solid: noise taken out, where that leaves a value.  Dotted: noise left in, on the same samples.", size=10
    )
    return figure


def _surrogates(results):
    """Draw the cosine of each layer for every surrogate of binary, beside ternary with the plain clip."""
    figure = blank(10, 5)
    names = [row["surrogate"] for row in results["areas"] if row["activation"] == "binary"] + ["ternary, clip"]
    for axes, (state, words) in zip(figure.subplots(1, 2, sharey=True), STATES.items()):
        for i, name in enumerate(names):
            where = {"activation": "binary", "surrogate": name}
            if i == len(names) - 1:
                where = {"activation": "ternary", "surrogate": "clip"}
            for k, (layer, (color, marker)) in enumerate(LAYERS.items()):
                rows = rows_of(results, "toy", state=state, step=REFERENCE_STEP, layer=layer, **where)
                _point(axes, i + (k - 1) / 5, rows, color, marker, across=True)
        axes.axhline(len(names) - 1.5, color="0.7", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=f"binary {words}, ε = {REFERENCE_STEP}", xlabel="cosine, coarse and smoothed gradient")
        axes.axvline(1, color="0.6", linewidth=1)
        axes.set_xlim(min(0, axes.get_xlim()[0]), 1.15)
        tidy(axes, "x")
    axes.invert_yaxis()
    _legend(figure, LAYERS)
    return figure


def _gallery(results):
    """Draw staircase, surrogate and the area between, the derivative below, and the area against the cosine."""
    pairs = [(name, ACTIVATIONS["binary"][0], surrogate) for name, surrogate in SURROGATES.items()]
    pairs += [(f"{name}, clip", *ACTIVATIONS[name]) for name in ("ternary", "2 bits")]
    blocks = -(-len(pairs) // 6)
    figure = blank(12, 3 + 3 * blocks)
    drawings, scatter = figure.subfigures(2, 1, height_ratios=(1.05 * blocks, 1))
    grid = drawings.subplots(2 * blocks, 6, sharex=True, squeeze=False, height_ratios=(2, 1) * blocks)
    for axes in grid[:, len(pairs) % 6 or 6 :][-2:].flat:
        axes.set_axis_off()
    x = np.linspace(-1, 2, 1201)
    for k, (name, staircase, surrogate) in enumerate(pairs):
        top, bottom = grid[2 * (k // 6)][k % 6], grid[2 * (k // 6) + 1][k % 6]
        y, value = staircase(x), surrogate.value(x)
        top.fill_between(x, y, value, color="#e0a458", alpha=0.5, linewidth=0)
        top.plot(x, y, color="#b2500f", linewidth=1.5)
        top.plot(x, value, color="#123a6b", linewidth=1.5)
        top.set(title=name, ylim=(-0.4, 1.4))
        slope = surrogate.derivative(x).astype(float)
        bottom.plot(x, slope, color="#123a6b", linewidth=1.5)
        bottom.set(ylim=(-0.6, max(2.4, 1.1 * slope.max())))
        for axes in (top, bottom):
            tidy(axes)
            axes.tick_params(labelsize=7)
    grid[0][0].set_ylabel("y", rotation=0)
    grid[1][0].set_ylabel("slope", size=8)
    _areas(scatter.subplots(1, 3, sharey=True), results)
    return figure


def _areas(panels, results):
    """Draw the indirect measure against the direct measure at initialisation, one panel per layer."""
    finite = [row["area"] for row in results["areas"] if row["area"] is not None]
    edge = 1.3 * max(finite)
    styles = _precisions(results)
    for axes, layer in zip(panels, HIDDEN):
        points = []
        for row in results["areas"]:
            where = {"activation": row["activation"], "surrogate": row["surrogate"], "layer": layer}
            rows = rows_of(results, "toy", state="start", step=REFERENCE_STEP, **where)
            mean, deviation, count = spread(rows)
            if not count:
                continue
            binary = row["activation"] == "binary"
            color, marker = styles[row["activation"]]
            at = edge if row["area"] is None else row["area"]
            _point(axes, at, rows, color, marker)
            text = row["surrogate"] if binary else row["activation"]
            axes.annotate(text, (at, mean), xytext=(0, 12), textcoords="offset points", size=6, rotation=60)
            if binary:
                points.append((at, mean))
        title = layer
        if len(points) > 2:
            title += f": rank correlation over binary's surrogates {rank_correlation(*zip(*points)):.2f}"
        axes.set_title(title, size=9)
        axes.set_xlabel("area between staircase and surrogate", size=8)
        axes.set_xticks([0, 0.1, 0.2, 0.3, edge], ["0", "0.1", "0.2", "0.3", "∞"])
        _unit_scale(axes)
        axes.set_ylim(0, 1.5)
    panels[0].set_ylabel("cosine")


def _truth(results):
    """Draw exact cosines over the angle as lines, and measured cosines of one seed as points with intervals."""
    figure = blank(7, 4.2)
    axes = figure.subplots()
    for name, (color, marker) in TRUTH.items():
        rows = sorted(rows_of(results, "truth", surrogate=name, seed=0), key=lambda row: row["theta"])
        degrees = [math.degrees(row["theta"]) for row in rows]
        axes.plot(degrees, [row["exact"] for row in rows], color=color, linewidth=1.5)
        for row, at in zip(rows, degrees):
            _point(axes, at, [row], color, marker)
    axes.set(
        xlabel="angle between w and w* (degrees)", ylabel="cosine, coarse and smoothed gradient",
        title="Two-layer network: closed form (lines) and measured (points)",
    )  # fmt: skip
    tidy(axes)
    _legend(figure, TRUTH)
    return figure


def _network(results):
    """Draw the cosine of each layer of the real network."""
    steps = results["settings"]["network_steps"]
    figure = blank(10, 0.8 + 3.4 * len(steps))
    layers = list(dict.fromkeys(row["layer"] for row in rows_of(results, "network")))
    for step, line in zip(steps, figure.subplots(len(steps), 2, sharey=True, squeeze=False)):
        for axes, (state, words) in zip(line, {"start": "at initialisation", "trained": "trained"}.items()):
            for k, (network, (color, marker)) in enumerate(NETWORKS.items()):
                where = {"network": network, "state": state, "step": step}
                for i, layer in enumerate(layers):
                    rows = rows_of(results, "network", layer=layer, **where)
                    if rows:
                        at = i + (k - 1.5) / 7
                        style = {"color": color, "markerfacecolor": "none", "markersize": 4, "alpha": 0.7}
                        axes.plot(at, _mean_raw(rows), marker, **style)
                        _point(axes, at, rows, color, marker)
            axes.set_xticks(range(len(layers)), layers)
            axes.set_title(f"{words}, ε = {step:g}")
            axes.axhline(0, color="0.8", linewidth=1)
            _unit_scale(axes)
        line[0].set_ylabel("cosine")
    _legend(figure, NETWORKS)
    figure.suptitle("Filled: noise taken out, where that leaves a value.  Open: with the noise in it.", size=10)
    return figure


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute Spearman's rank correlation of two sequences; ties share their mean rank.

    Parameters
    ----------
    a, b : sequence of float

    Returns
    -------
    float

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 3], [9, 5, 4, 4])
    -1.0
    """
    first, second = [[(np.sum(v < x) + np.sum(v <= x)) / 2 for x in v] for v in (np.asarray(a), np.asarray(b))]
    return round(float(np.corrcoef(first, second)[0, 1]), 6)


def _point(axes, at, rows, color, marker, across=False):
    """Draw the mean over seeds and its standard deviation, or one seed and its interval; nothing if unresolved."""
    mean, deviation, count = spread(rows)
    if not count:
        return
    if math.isnan(deviation):
        row = next(row for row in rows if told_from_noise(row))
        error = None if row["low"] is None else [[row["cosine"] - row["low"]], [row["high"] - row["cosine"]]]
        error = None if error is None else np.maximum(error, 0)
    else:
        error = deviation
    x, y = (mean, at) if across else (at, mean)
    errors = {"xerr" if across else "yerr": error}
    axes.errorbar(x, y, fmt=marker, color=color, markersize=5, capsize=2, linewidth=1, **errors)


def _mean_raw(rows):
    raw = [row["raw"] for row in rows if row["raw"] is not None]
    return np.mean(raw) if raw else math.nan


def _unit_scale(axes):
    axes.axhline(1, color="0.6", linewidth=1)
    tidy(axes)
    axes.set_ylim(max(-0.5, min(0, axes.get_ylim()[0])), 1.2)


def _legend(figure, styles):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, (c, m) in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(styles), fontsize=8, frameon=False)
