"""A grid over training settings: a run for each combination, and a table of accuracies."""

import itertools
import math
import re
import statistics
from pathlib import Path
from typing import Any

from duonet import parallel
from duonet.experiments.crew import Crew
from duonet.experiments.fields import BadSetting, asked_by
from duonet.experiments.materials import checked, try_network
from duonet.experiments.run_folder import locked
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.studies import Study, failure
from duonet.text import aligned

MOST = 9999  # runs
SAME_IMAGES = ("dataset", "data", "size", "grey", "images", "validation_images", "batch_size", "device")


def combinations(settings: dict[str, Any]) -> list[tuple[str, dict[str, Any], RunSettings]]:
    """List the runs of a grid.

    Parameters
    ----------
    settings : dict
        Fields of `RunSettings`; a list stands for each of its values in turn.

    Returns
    -------
    list of (name, given, run)
        The name of the run's folder; its values from the lists; all its settings, resolved.

    Raises
    ------
    BadSetting, ValueError
        If a setting is wrong, the model or data set is missing, a list is empty, two combinations are the same, or
        there are more than 9,999.

    Examples
    --------
    >>> grid = {"model": "mlp", "dataset": "mnist", "lr": [0.004, 0.008], "seed": [0, 1]}
    >>> [name for name, given, run in combinations(grid)]
    ['1-0.004-0', '2-0.004-1', '3-0.008-0', '4-0.008-1']
    """
    if missing := [name for name in ("model", "dataset") if name not in settings]:
        raise ValueError(f"sweep: the settings do not give {' and '.join(missing)}")
    varied = {name: values for name, values in settings.items() if isinstance(values, list)}
    if empty := [name for name, values in varied.items() if not values]:
        raise BadSetting("sweep", empty[0], "must be a value or a list of values, got []")
    count = math.prod(map(len, varied.values()))
    if count > MOST:
        sizes = ", ".join(f"{name} {len(values)}" for name, values in varied.items())
        raise ValueError(f"sweep: there must be at most {MOST:,} combinations, got {count:,} ({sizes})")
    runs: list[tuple[str, dict[str, Any], RunSettings]] = []
    first: dict[RunSettings, str] = {}
    for values in itertools.product(*varied.values()):
        given = dict(zip(varied, values))
        run = RunSettings(**settings | given).resolved()
        words = [re.sub(r"[^\w.+-]", "_", str(value))[:40] for value in values]
        name = "-".join([f"{len(runs) + 1:0{len(str(count))}}", *words])
        if run in first:
            raise ValueError(f"sweep: the runs {first[run]} and {name} have the same settings")
        first[run] = name
        runs.append((name, given, run))
    return runs


@parallel.threads()
def sweep(
    settings: dict[str, Any], out: str | Path, progress: bool = True, crew: Crew | None = None
) -> dict[str, Any]:
    """Make a run for each combination of settings, or continue a sweep, and write a folder of results.

    Parameters
    ----------
    settings : dict
        Fields of `RunSettings`; a list stands for each of its values in turn.
    out : str or Path
        A new folder, or a folder of the same grid, whose finished runs are kept. It gets a folder for each run, as
        `train` writes it, and results.json.
    progress : bool
        Show progress.
    crew : Crew, optional
        Processes that share the runs; no accuracy depends on it. By default this process makes them in turn.

    Returns
    -------
    dict
        The content of results.json. `failed` has the error of each run that failed; the other runs are finished.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If a setting is wrong, or `out` holds a sweep with other settings.
    RunInUse, RuntimeError
        If another process works in `out`; if `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> grid = {"model": "mlp", "dataset": "fashion-mini", "lr": [0.004, 0.008], "seed": [0, 1, 2]}
    >>> print(sweep_table(sweep(grid, "runs/grid")))  # doctest: +SKIP
    """
    runs = combinations(settings)
    with asked_by("sweep", {}):
        _try_all([run for _, _, run in runs])
    study = Study("sweep", out, dict(settings), {"runs": [], "failed": {}}, progress=progress)
    with locked(study.out), crew or Crew() as crew:
        found = {name: study.finished(name, run) for name, _, run in runs}
        tasks = [study.task(name, run, progress and crew.alone) for name, _, run in runs if found[name] is None]
        by_name = {name: run for name, _, run in runs}
        study.values["runs"] = _rows(runs, found)
        for task, result, error in crew.each(tasks, "sweep", len(runs) - len(tasks), progress):
            found[task.name] = result
            if error is not None:
                study.values["failed"][task.name] = failure(by_name[task.name], error)
            study.values["runs"] = _rows(runs, found)
            study.save()
        if study.values["failed"]:
            study.save()
            return study.values
        return study.finish()


def _try_all(runs):
    """Refuse runs that cannot be trained here, before anything is written; their seeds make no difference."""
    tried, splits = set(), {}
    for run in runs:
        alike = RunSettings(**vars(run) | {"seed": 0})
        images = tuple(getattr(run, name) for name in SAME_IMAGES)
        if alike in tried:
            continue
        tried.add(alike)
        if images in splits:
            try_network(run, splits[images])
        else:
            splits = {images: checked(run)}  # of one data set at a time


def _rows(runs, found):
    names = ("val_accuracy", "test_accuracy", "best_epoch")
    return [
        {"name": name, "given": given} | {key: found[name][key] for key in names}
        for name, given, _ in runs
        if found[name] is not None
    ]


def sweep_table(results: dict[str, Any]) -> str:
    """Lay out the accuracies of each combination: the mean over its seeds ± their standard deviation.

    Parameters
    ----------
    results : dict
        The result of `sweep`, finished or not.

    Returns
    -------
    str
        Combinations in the order of the grid.

    Examples
    --------
    >>> runs = [{"given": {"lr": lr}, "val_accuracy": 0.75 + lr, "test_accuracy": 0.75} for lr in (0.02, 0.04)]
    >>> print(sweep_table({"settings": {"model": "mlp", "lr": [0.02, 0.04]}, "runs": runs}))
    lr    seeds  validation %  test accuracy %
    ------------------------------------------
    0.02      1         77.00            75.00
    0.04      1         79.00            75.00
    """
    settings = results["settings"]
    varied = [name for name, values in settings.items() if isinstance(values, list) and name != "seed"]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in results["runs"]:
        groups.setdefault(tuple(str(run["given"].get(name, "")) for name in varied), []).append(run)
    rows = [tuple([*(varied or ["model"]), "seeds", "validation %", "test accuracy %"])]
    for words, group in groups.items():
        accuracies = [_spread([run[key] for run in group]) for key in ("val_accuracy", "test_accuracy")]
        rows.append((*(words or (str(settings.get("model", "")),)), str(len(group)), *accuracies))
    return aligned(rows)


def _spread(shares):
    if None in shares:
        return "-"
    spread = f" ± {100 * statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * statistics.mean(shares):.2f}{spread}"
