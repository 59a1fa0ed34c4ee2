"""The paper's experiments, as functions."""

from duonet.experiments.compare import Settings, compare
from duonet.experiments.mismatch import Settings as MismatchSettings
from duonet.experiments.mismatch import mismatch
from duonet.experiments.records import tables
from duonet.experiments.results import table

__all__ = ["MismatchSettings", "Settings", "compare", "mismatch", "table", "tables"]
