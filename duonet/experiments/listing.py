"""A row for each of several training runs: settings that differ, progress, accuracies."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from duonet import data
from duonet.experiments.collection import OWN
from duonet.experiments.crew import FIRST
from duonet.experiments.run_folder import read_history, read_result
from duonet.experiments.study_file import RESULTS
from duonet.experiments.training import saved_settings
from duonet.text import aligned


def runs_in(folders: Iterable[str | Path]) -> list[Path]:
    """List run folders; a study's folder is replaced by the folders of its runs.

    Parameters
    ----------
    folders : iterable of str or Path
        A path without a run stays in the list, so that its reader refuses it by name; a study's results.json is
        left out.

    Returns
    -------
    list of Path

    Examples
    --------
    >>> [path.name for path in runs_in(["runs/nosuch", "runs/sweep/results.json"])]
    ['nosuch', 'results.json']
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        within = sorted(path.parent for path in folder.rglob(FIRST)) if folder.is_dir() else []
        if not (folder.is_file() and folder.name == RESULTS):
            found += [folder] if (folder / FIRST).is_file() else within or [folder]
    return found


def list_runs(folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Read runs, finished or not, whatever their settings.

    Parameters
    ----------
    folders : sequence of str or Path
        Run folders of `duonet train`.

    Returns
    -------
    list of dict
        For each run `folder`, `settings`, `finished`, `epochs` (trained so far), `of` (the number of all epochs),
        `val_accuracy` (the result's, or the best of the last stage so far) and `test_accuracy`, shares of the
        images; None if there is none yet.

    Raises
    ------
    ValueError
        If a folder holds no run, or a file of a run is damaged; the message names it.

    Examples
    --------
    >>> print(list_table(list_runs(["runs/a", "runs/b"])))  # doctest: +SKIP
    """
    return [_run(Path(folder)) for folder in folders]


def _run(folder):
    settings = saved_settings(folder)
    result = read_result(folder / "result.json", settings) if (folder / "result.json").is_file() else {}
    rows = read_history(folder / "history.csv") if (folder / "history.csv").is_file() else []
    best = max((row["val_accuracy"] for row in rows if row["stage"] == rows[-1]["stage"]), default=None)
    return {
        "folder": str(folder),
        "settings": dataclasses.asdict(settings),
        "finished": bool(result),
        "epochs": len(rows),
        "of": sum(epochs for epochs, _, _ in settings.resolved().stages()),
        "val_accuracy": result.get("val_accuracy", best),
        "test_accuracy": result.get("test_accuracy"),
    }


def alike(runs: list[dict[str, Any]]) -> bool:
    """Tell whether runs are finished, scored on test images, and differ in method and seed alone.

    Parameters
    ----------
    runs : list of dict
        The result of `list_runs`.

    Returns
    -------
    bool
    """
    ended = all(run["finished"] and run["test_accuracy"] is not None for run in runs)
    named = {run["settings"]["dataset"] for run in runs}
    places = {name if name in data.NAMES else os.path.realpath(name) for name in named}
    return ended and len(places) == 1 and not set(_differing(runs)) - {*OWN, "dataset"}


def list_table(runs: list[dict[str, Any]]) -> str:
    """Lay runs out as a table, with a column for each setting in which two of them differ.

    Parameters
    ----------
    runs : list of dict
        The result of `list_runs`.

    Returns
    -------
    str
        `made` counts epochs; an unfinished run says so.

    Examples
    --------
    >>> run = {"settings": {"lr": 0.1}, "epochs": 4, "of": 4, "val_accuracy": 0.8, "test_accuracy": 0.75}
    >>> other = run | {"settings": {"lr": 0.2}, "epochs": 1, "test_accuracy": None}
    >>> print(list_table([run | {"folder": "a", "finished": True}, other | {"folder": "b", "finished": False}]))
    run   lr    made  validation %  test %       state
    --------------------------------------------------
    a    0.1  4 of 4         80.00   75.00    finished
    b    0.2  1 of 4         80.00          unfinished
    """
    differ = _differing(runs)
    rows = [("run", *differ, "made", "validation %", "test %", "state")]
    for run in runs:
        values = [run["settings"][name] for name in differ]
        said = [
            "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values
        ]
        shares = ["" if run[k] is None else f"{100 * run[k]:.2f}" for k in ("val_accuracy", "test_accuracy")]
        state = "finished" if run["finished"] else "unfinished"
        rows.append((run["folder"], *said, f"{run['epochs']} of {run['of']}", *shares, state))
    return aligned(rows)


def _differing(runs):
    first = runs[0]["settings"]
    return [name for name in first if any(run["settings"][name] != first[name] for run in runs)]
