"""Drawings of the autodiff graph. matplotlib is imported inside the functions."""

from duonet.viz.graph import graph_mermaid, graph_text, plot_graph

__all__ = ["graph_mermaid", "graph_text", "plot_graph"]
