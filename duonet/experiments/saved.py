"""A study printed again from its results.json, finished or not, without computing anything."""

from pathlib import Path

from duonet.experiments.comparison import compare_table
from duonet.experiments.competition_tables import contest_tables
from duonet.experiments.grids import sweep_table
from duonet.experiments.study_file import read_study
from duonet.experiments.study_tables import mismatch_tables
from duonet.text import visible


def show(study: str, path: str | Path) -> str:
    """Lay out the tables of a study from its results.json.

    Parameters
    ----------
    study : {"compare", "mismatch", "contest", "sweep"}
    path : str or Path
        The study's folder, or its results.json under any name.

    Returns
    -------
    str
        The tables; for a stopped study, the last line names its finished parts.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is not a results.json of that study; the message names the first difference.

    Examples
    --------
    >>> print(show("compare", "runs/small"))  # doctest: +SKIP
    """
    results = read_study(study, path)
    if study == "compare":
        done, text = _finished_methods(results), compare_table(results)
    elif study == "sweep":
        done, text = ", ".join(run["name"] for run in results["runs"]), sweep_table(results)
    else:
        done = ", ".join(results.get("finished", []) if study == "mismatch" else results["methods"])
        tables = mismatch_tables(results) if study == "mismatch" else contest_tables(results)
        text = "\n\n".join(tables.values())
    return (
        text if results["complete"] else f"{text}\n\nStopped before its end; finished: {visible(done or 'none')}"
    )


def _finished_methods(results):
    counts = {row["name"]: len(row["accuracy"]) for row in results["methods"].values()}
    seeds = results["settings"]["seeds"]
    return ", ".join(f"{name} ({n} of {seeds} seeds)" for name, n in counts.items())
