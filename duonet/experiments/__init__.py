"""The paper's experiments, as functions."""

from duonet.experiments.compare import Settings, compare
from duonet.experiments.results import table

__all__ = ["Settings", "compare", "table"]
