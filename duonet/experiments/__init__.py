"""The paper's experiments, as functions."""

from duonet.experiments.collection import collect, runs_table
from duonet.experiments.comparison import CompareSettings, compare, compare_table
from duonet.experiments.competition import ContestSettings, contest
from duonet.experiments.competition_tables import contest_tables
from duonet.experiments.crew import Crew
from duonet.experiments.grids import sweep, sweep_table
from duonet.experiments.listing import list_runs, list_table
from duonet.experiments.meaning import verdict
from duonet.experiments.mismatch_study import MismatchSettings, mismatch
from duonet.experiments.predicting import predict
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.saved import show
from duonet.experiments.scoring import score, score_table
from duonet.experiments.study_tables import mismatch_tables
from duonet.experiments.training import train

__all__ = [
    "CompareSettings", "ContestSettings", "Crew", "MismatchSettings", "RunSettings", "collect", "compare",
    "compare_table", "contest", "contest_tables", "list_runs", "list_table", "mismatch", "mismatch_tables",
    "predict", "runs_table", "score", "score_table", "show", "sweep", "sweep_table", "train", "verdict",
]  # fmt: skip
