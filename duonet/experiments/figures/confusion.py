"""The figure of a confusion matrix."""

from pathlib import Path
from typing import Any

from duonet.viz.canvas import blank, save, without_formulas

WORDED = 30  # more classes than this are drawn without names and numbers


def plot_confusion(scores: dict[str, Any], path: str | Path) -> Path:
    """Draw the classes that a network takes for each other, in percent of each true class.

    Parameters
    ----------
    scores : dict
        The result of `duonet.experiments.score`.
    path : str or Path
        The file to write; PNG without a suffix.

    Returns
    -------
    Path
        The file.
    """
    names, counts = [without_formulas(name) for name in scores["class_names"]], scores["confusion"]
    worded = len(names) <= WORDED
    shares = [[100 * n / max(1, sum(row)) for n in row] for row in counts]
    side = 2.6 + 0.42 * len(names) if worded else 8
    figure = blank(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    if worded:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                if counts[i][j]:
                    color = "white" if share > 55 else "black"
                    axes.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    axes.set_title(f"% of each class's {scores['part']} images; {100 * scores['top1']:.2f} % right", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return save(figure, path)
