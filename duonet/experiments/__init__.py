"""The paper's experiments, as functions."""

from duonet.experiments.compare import Settings, compare
from duonet.experiments.mismatch import Settings as MismatchSettings
from duonet.experiments.mismatch import mismatch
from duonet.experiments.results import table
from duonet.experiments.study_tables import tables

__all__ = ["MismatchSettings", "Settings", "compare", "mismatch", "table", "tables"]
