"""The figure of several training runs."""

from pathlib import Path
from typing import Any

from duonet.experiments.methods import METHODS
from duonet.viz.canvas import blank, save, tidy, without_formulas


def plot_runs(collected: dict[str, Any], path: str | Path) -> Path:
    """Draw validation accuracy by epoch: every seed as a thin line, and the mean over the seeds.

    A method has no mean if its seeds made different numbers of epochs, as with `early_stop`.

    Parameters
    ----------
    collected : dict
        The result of `duonet.experiments.collect`.
    path : str or Path
        The file to write; PNG without a suffix.

    Returns
    -------
    Path
        The file.
    """
    figure = blank(7.5, 4)
    axes = figure.subplots()
    for method in collected["costs"]:
        runs = [run["history"] for run in collected["runs"] if run["method"] == method]
        color, line = METHODS[method].color, METHODS[method].line
        curves = [[100 * row["val_accuracy"] for row in rows] for rows in runs]
        label: str | None = METHODS[method].label
        stages = {tuple(row["stage"] for row in rows) for rows in runs}
        if len(stages) == 1:
            mean = [sum(values) / len(values) for values in zip(*curves)]
            axes.plot(range(1, len(mean) + 1), mean, color=color, linestyle=line or "-", linewidth=2, label=label)
            label = None
        for curve in curves:
            axes.plot(range(1, len(curve) + 1), curve, color=color, linewidth=0.6, alpha=0.6, label=label)
            label = None
        for start in sorted({of.count(1) + 0.5 for of in stages} if METHODS[method].on_the_way else ()):
            axes.axvline(start, color="0.8", linewidth=1, zorder=0)
            axes.annotate(" decoupled", (start, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.4")
    settings = collected["settings"]
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.set_title(without_formulas(f"{settings['model']} on {settings['dataset']}"), fontsize=10)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    tidy(axes)
    return save(figure, path)
