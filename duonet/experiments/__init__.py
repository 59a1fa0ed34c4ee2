"""The paper's experiments, as functions."""

from duonet.experiments.compare import Settings, compare, table

__all__ = ["Settings", "compare", "table"]
