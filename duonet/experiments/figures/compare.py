"""The figure of `compare`: accuracy during training and at the end."""

from pathlib import Path
from typing import Any

from duonet.experiments.methods import METHODS
from duonet.viz.canvas import blank, save, tidy


def plot_comparison(results: dict[str, Any], path: str | Path) -> Path:
    """Draw validation accuracy during training, and test accuracy at the end.

    Parameters
    ----------
    results : dict
        The result of `duonet.experiments.compare`, finished or not.
    path : str or Path
        The file to write; PNG without a suffix.

    Returns
    -------
    Path
        The file.
    """
    figure = blank(10, 4.6)
    curves, bars = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_curves(curves, results)
    _draw_bars(bars, results)
    figure.legend(
        *curves.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )
    settings = results["settings"]
    seeds = settings["seeds"]
    figure.suptitle(
        f"{settings['model']}, {settings['weights']} weights, {results['images']:,} images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}",
        fontsize=11,
    )
    return save(figure, Path(path))


def _draw_curves(axes, results):
    """Draw one line per method, the mean over the seeds; BinaryDuo continues where coupled ends."""
    first = results["stages"][0]
    for name, row in results["methods"].items():
        method = METHODS[name]
        if method.line is None:
            continue
        accuracy = [100 * sum(values) / len(values) for values in zip(*row["validation"])]
        start = first if method.on_the_way else 0
        epochs = range(start + 1, start + 1 + len(accuracy))
        axes.plot(epochs, accuracy, color=method.color, linestyle=method.line, linewidth=2, label=row["name"])
    axes.axvline(first + 0.5, color="0.8", linewidth=1, zorder=0)
    axes.annotate(
        "decouple", (first + 0.5, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.4", ha="center"
    )
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    tidy(axes)


def _draw_bars(axes, results):
    """Draw one bar per method with its spread, and every seed as a dot."""
    rows = list(results["methods"].items())
    for i, (method, row) in enumerate(rows):
        style = METHODS[method]
        axes.barh(
            i, 100 * row["mean"], xerr=100 * row["std"] if row["std"] else None, color=style.color,
            hatch=style.hatch, edgecolor="white", capsize=3, height=0.7,
        )  # fmt: skip
        axes.plot([100 * a for a in row["accuracy"]], [i] * len(row["accuracy"]), "o", color="black", markersize=3)
        axes.annotate(
            f"{100 * row['mean']:.1f}", (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    axes.set_yticks(range(len(rows)), [row["name"] for _, row in rows], fontsize=8)
    axes.invert_yaxis()
    accuracies = [100 * a for _, row in rows for a in row["accuracy"]]
    axes.set_xlim(min(accuracies) - 3, max(accuracies) + 1)
    axes.set_xlabel("test accuracy (%), axis does not start at 0")
    axes.spines[["top", "right"]].set_visible(False)
