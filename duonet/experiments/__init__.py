"""The paper's experiments, as functions."""

from duonet.experiments.comparison import Settings, compare, table
from duonet.experiments.mismatch_study import Settings as MismatchSettings
from duonet.experiments.mismatch_study import mismatch
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.saved import show
from duonet.experiments.scoring import predict, score, score_table
from duonet.experiments.several import collect, runs_table
from duonet.experiments.study_tables import tables
from duonet.experiments.training import train

__all__ = [
    "MismatchSettings", "RunSettings", "Settings", "collect", "compare", "mismatch", "predict", "runs_table",
    "score", "score_table", "show", "table", "tables", "train",
]  # fmt: skip
