"""The figures of the studies. matplotlib is imported inside the functions."""

from duonet.experiments.figures.compare import plot_comparison
from duonet.experiments.figures.confusion import plot_confusion
from duonet.experiments.figures.contest import plot_contest
from duonet.experiments.figures.history import plot_history
from duonet.experiments.figures.mismatch import plot_mismatch
from duonet.experiments.figures.runs import plot_runs
from duonet.experiments.figures.shelf import plot_shelf

__all__ = [
    "plot_comparison", "plot_confusion", "plot_contest", "plot_history", "plot_mismatch", "plot_runs",
    "plot_shelf",
]  # fmt: skip
