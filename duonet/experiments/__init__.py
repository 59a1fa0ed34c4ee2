"""The paper's experiments, as functions."""

from duonet.experiments.compare import Settings, compare
from duonet.experiments.mismatch import Settings as MismatchSettings
from duonet.experiments.mismatch import mismatch
from duonet.experiments.results import table
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.scoring import predict, score, score_table
from duonet.experiments.study_tables import tables
from duonet.experiments.training import train

__all__ = [
    "MismatchSettings", "RunSettings", "Settings", "compare", "mismatch", "predict", "score", "score_table",
    "table", "tables", "train",
]  # fmt: skip
