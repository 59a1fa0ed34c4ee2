"""The figure of `contest`: gain over the baseline, and against gradient mismatch."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from duonet.experiments.competition_tables import STATES, against, correlations, points_of, ranked
from duonet.viz.canvas import blank, save, tidy, without_formulas

# In points of accuracy. The axis is linear up to here and logarithmic beyond, so that a failure hides no gain.
NEAR = 10
TICKS = (-80, -40, -20, -10, -5, 0, 5, 10, 20, 40, 80)
PANEL = (160, 95)  # width and height of a panel, about, in printer's points


def plot_contest(results: dict[str, Any], path: str | Path) -> Path:
    """Draw each method's gain over the baseline, and the gain by cosine for each measured layer and state.

    Parameters
    ----------
    results : dict
        The result of `duonet.experiments.contest`, finished or not.
    path : str or Path
        The file to write; PNG without a suffix.

    Returns
    -------
    Path
        The file.
    """
    found = [row for row in correlations(results) if row.methods > 1]
    columns = math.ceil(len(found) / 2)
    figure = blank(5.5 + 3.6 * columns, max(6 if columns else 3, 0.22 * len(results["methods"])))
    panels = figure.subplots(2, 1 + columns, width_ratios=(1.4, *[1] * columns), squeeze=False)
    grid = panels[0, 0].get_gridspec()
    for axes in panels[:, 0]:
        axes.remove()
    _draw_gains(figure.add_subplot(grid[:, 0]), results)
    places = panels[:, 1:].ravel()
    for axes, row in zip(places, found):
        _draw_points(axes, results, row)
    for axes in places[len(found) :]:
        axes.remove()
    settings = results["settings"]
    figure.suptitle(f"{settings['model']}, {settings['weights']} weights", fontsize=11)
    return save(figure, path)


def _draw_gains(axes, results):
    """Draw each method's difference from the baseline with its 95 % interval, the best method on top."""
    rows = ranked(results)[::-1]
    for i, name in enumerate(rows):
        gap = against(results, name)
        half = None if math.isnan(gap.half) or name == "baseline" else 100 * gap.half
        color = "#123a6b" if name == "binaryduo" else "#b2500f" if name == "baseline" else "0.4"
        axes.errorbar(100 * gap.mean, i, xerr=half, fmt="o", color=color, markersize=4, capsize=2)
    labels = [
        f"{without_formulas(results['methods'][name]['label'])}  {len(rows) - i}" for i, name in enumerate(rows)
    ]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(0, color="0.7", linewidth=1, zorder=0)
    axes.set_xlabel("points above the baseline, with 95 % interval")
    axes.set_xscale("symlog", linthresh=NEAR, linscale=1)
    low, high = axes.get_xlim()
    axes.set_xticks(shown := [tick for tick in TICKS if low <= tick <= high], [f"{tick}" for tick in shown])
    axes.set_xticks([], minor=True)
    tidy(axes, "x")


def _draw_points(axes, results, row):
    places = {name: i for i, name in enumerate(ranked(results), start=1)}
    found = points_of(results, row.state, row.layer)
    points = np.array([(cosine, 100 * gain) for _, cosine, gain in found])
    for (name, *_), point, offset in zip(found, points, _offsets(points)):
        color = "#123a6b" if name == "binaryduo" else "#b2500f" if name == "baseline" else "0.4"
        axes.plot(*point, "o", color=color, markersize=4)
        axes.annotate(
            str(places[name]), point, offset, textcoords="offset points", fontsize=7, ha="center", va="center"
        )
    axes.margins(0.1)
    known = "" if math.isnan(row.value) else f"\nρ = {row.value:+.2f} ({row.low:+.2f} .. {row.high:+.2f})"
    axes.set_title(f"{row.layer}, {STATES[row.state]}{known}", fontsize=9)
    axes.set_xlabel("cosine of coarse and smoothed gradient", fontsize=8)
    axes.set_ylabel("points above the baseline", fontsize=8)
    tidy(axes, "both")


def _offsets(points):
    """Put each point's number at the corner that is farthest from other points and numbers."""
    reach = np.ptp(points, axis=0)
    taken = list(points / np.where(reach > 0, reach, 1) * PANEL)
    corners = np.array([(7, 5), (7, -5), (-7, 5), (-7, -5)])
    offsets = []
    for i in range(len(points)):
        others = np.array(taken[:i] + taken[i + 1 :]).reshape(-1, 2)
        room = [np.hypot(*(others - taken[i] - corner).T).min(initial=math.inf) for corner in corners]
        offsets.append(corners[np.argmax(room)])
        taken.append(taken[i] + offsets[-1])
    return offsets
