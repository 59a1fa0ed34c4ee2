"""The figure of several training runs."""

from pathlib import Path
from typing import Any

from duonet.experiments.methods import METHODS
from duonet.viz.canvas import blank, save, tidy, without_formulas


def plot_runs(collected: dict[str, Any], path: str | Path) -> Path:
    """Draw validation accuracy by epoch: the mean over the seeds, and every seed as a thin line.

    Parameters
    ----------
    collected : dict
        As from `duonet.experiments.collect`.
    path : str or Path
        Where to write the PNG.

    Returns
    -------
    Path
    """
    figure = blank(7.5, 4)
    axes = figure.subplots()
    for method in collected["costs"]:
        runs = [run["history"] for run in collected["runs"] if run["method"] == method]
        color, line = METHODS[method].color, METHODS[method].line
        curves = [[100 * row["val_accuracy"] for row in rows] for rows in runs]
        epochs = list(range(1, len(curves[0]) + 1))
        for curve in curves:
            axes.plot(epochs, curve, color=color, linewidth=0.6, alpha=0.6)
        mean = [sum(values) / len(values) for values in zip(*curves)]
        axes.plot(epochs, mean, color=color, linestyle=line or "-", linewidth=2, label=METHODS[method].label)
        if METHODS[method].on_the_way:
            start = sum(row["stage"] == 1 for row in runs[0]) + 0.5
            axes.axvline(start, color="0.8", linewidth=1, zorder=0)
            axes.annotate(" decoupled", (start, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.4")
    settings = collected["settings"]
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.set_title(without_formulas(f"{settings['model']} on {settings['dataset']}"), fontsize=10)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    tidy(axes)
    return save(figure, path)
