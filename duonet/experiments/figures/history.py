"""The figure of a training run."""

from pathlib import Path
from typing import Any

from duonet.viz.canvas import blank, save, tidy


def plot_history(rows: list[dict[str, Any]], path: str | Path) -> Path:
    """Draw loss, accuracy and learning rate of every epoch.

    Parameters
    ----------
    rows : list of dict
        Rows of the history of `duonet.experiments.train`, with the stage of each epoch.
    path : str or Path
        The file to write; PNG without a suffix.

    Returns
    -------
    Path
        The file.
    """
    figure = blank(10, 3.4)
    accuracy, loss, rate = figure.subplots(1, 3, width_ratios=(1.3, 1.3, 1))
    x = list(range(1, len(rows) + 1))
    for axes, name, factor, label in (
        (accuracy, "accuracy", 100, "accuracy (%)"),
        (loss, "loss", 1, "cross entropy"),
    ):
        for column, words, style in ((name, "training", "--"), (f"val_{name}", "validation", "-")):
            axes.plot(x, [factor * row[column] for row in rows], style, color="#123a6b", marker=".", label=words)
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=8)
    rate.step(x, [row["lr"] for row in rows], color="#123a6b", where="mid")
    rate.set_yscale("log")
    rate.set_ylabel("learning rate")
    starts = [i + 0.5 for i in range(1, len(rows)) if rows[i]["stage"] != rows[i - 1]["stage"]]
    for axes in (accuracy, loss, rate):
        for start in starts:
            axes.axvline(start, color="0.6", linewidth=1)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
        tidy(axes)
    for start in starts:
        place = {"xycoords": ("data", "axes fraction"), "va": "bottom"}
        accuracy.annotate(" second stage", (start, 0.02), fontsize=8, color="0.4", **place)
    return save(figure, path)
