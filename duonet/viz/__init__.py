"""Drawings of the autodiff graph, and sliders for notebooks. Only the functions' bodies import matplotlib."""

from duonet.viz.graph import graph_mermaid, graph_text, plot_graph
from duonet.viz.interactive import sliders

__all__ = ["graph_mermaid", "graph_text", "plot_graph", "sliders"]
