"""Figures. matplotlib is imported inside the functions, so that `import duonet` needs NumPy alone."""

from duonet.viz.compare import plot_comparison
from duonet.viz.confusion import plot_confusion
from duonet.viz.graph import graph_mermaid, graph_text, plot_graph
from duonet.viz.history import plot_history
from duonet.viz.mismatch import plot_mismatch
from duonet.viz.runs import plot_runs

__all__ = [
    "graph_mermaid", "graph_text", "plot_comparison", "plot_confusion", "plot_graph", "plot_history",
    "plot_mismatch", "plot_runs",
]  # fmt: skip
