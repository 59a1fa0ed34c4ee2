"""The figure of `compare`: accuracy during training and at the end."""

import csv
from pathlib import Path

from duonet.viz.canvas import blank, save, tidy

# Told apart in grey as well: by lightness, line style and hatching.
STYLES = {
    "float": ("0.65", ":", ""),
    "baseline": ("#b2500f", "--", "///"),
    "coupled": ("#7aa6d8", "-.", "..."),
    "decoupled": ("#7aa6d8", None, "xx"),
    "binaryduo": ("#123a6b", "-", ""),
    "control": ("#5d8a3a", (0, (5, 1, 1, 1)), "\\\\\\"),
    "ternary": ("0.4", None, "oo"),
    "restarted": ("#d98c4a", None, "//"),
    "control_restarted": ("#97b87c", None, "\\\\"),
}  # (color, line, hatch); without a line, a method is drawn as a bar alone


def plot_comparison(results, folder, path=None):
    """Draw validation accuracy during training, and test accuracy at the end.

    Parameters
    ----------
    results : dict
        As `duonet.experiments.compare` returns.
    folder : str or Path
        The run folder, whose histories are drawn.
    path : str or Path, optional
        Where to write the PNG; `folder/compare.png` by default.

    Returns
    -------
    Path
    """
    folder = Path(folder)
    path = folder / "compare.png" if path is None else Path(path)
    figure = blank(10, 4.6)
    curves, bars = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_curves(curves, results, folder)
    _draw_bars(bars, results)
    figure.legend(
        *curves.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )
    settings = results["settings"]
    seeds = settings["seeds"]
    figure.suptitle(
        f"{settings['model']}, {settings['weights']} weights, {settings['recipe']['images']:,} images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}",
        fontsize=11,
    )
    return save(figure, path)


def _draw_curves(axes, results, folder):
    """Draw one line a method, the mean over the seeds; BinaryDuo continues where coupled ends."""
    first = results["stages"][0]
    for method, row in results["methods"].items():
        color, line, _ = STYLES[method]
        if line is None:
            continue
        epochs, accuracy = _mean_curve(folder, method, results["settings"]["seeds"])
        if method == "binaryduo":
            epochs = [first + epoch for epoch in epochs]
        axes.plot(epochs, accuracy, color=color, linestyle=line, linewidth=2, label=row["name"])
    axes.axvline(first + 0.5, color="0.8", linewidth=1, zorder=0)
    axes.annotate(
        "decouple", (first + 0.5, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.4", ha="center"
    )
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    tidy(axes)


def _draw_bars(axes, results):
    """Draw one bar a method with its spread, and every seed as a dot."""
    rows = list(results["methods"].items())
    for i, (method, row) in enumerate(rows):
        color, _, hatch = STYLES[method]
        axes.barh(
            i, 100 * row["mean"], xerr=100 * row["std"] if row["std"] else None, color=color, hatch=hatch,
            edgecolor="white", capsize=3, height=0.7,
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


def _mean_curve(folder, method, seeds):
    """Read a method's histories and average validation accuracy over the seeds, in percent."""
    suffix = "_stage2" if method == "binaryduo" else ""
    runs = []
    for seed in range(seeds):
        with open(folder / f"history_{method}_seed{seed}{suffix}.csv", newline="") as file:
            runs.append([100 * float(row["val_accuracy"]) for row in csv.DictReader(file)])
    means = [sum(values) / len(values) for values in zip(*runs)]
    return list(range(1, len(means) + 1)), means
