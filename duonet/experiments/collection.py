"""Several training runs side by side: mean and spread over the seeds of each method."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duonet.costs import summary
from duonet.experiments.methods import METHODS
from duonet.experiments.run_folder import read_history, read_result
from duonet.experiments.scoring import load_run
from duonet.experiments.training import DATA, saved_settings
from duonet.text import aligned

KEPT = ("test_accuracy", "val_accuracy", "best_epoch", "training_seconds", "versions")
OWN = ("method", "seed", "data")  # settings in which the runs of one table may differ


def collect(folders: Sequence[str | Path]) -> dict[str, Any]:
    """Read finished runs that differ in nothing but method and seed.

    Parameters
    ----------
    folders : sequence of str or Path
        Run folders of `duonet train`.

    Returns
    -------
    dict
        `settings` that all runs share; `runs`, a list of dicts with method, seed, accuracies (shares of images),
        seconds, versions and the history; `costs` by method.

    Raises
    ------
    ValueError
        If a run is not finished or has no test accuracy, if two runs differ in another setting or in their images,
        or if two have the same method and seed; the message names them.

    Examples
    --------
    >>> [run["test_accuracy"] for run in collect(["runs/a", "runs/b"])["runs"]]  # doctest: +SKIP
    """
    if not folders:
        raise ValueError("runs: no run folder was given")
    common, same_data, runs, costs = None, None, [], {}
    for folder in map(Path, folders):
        own = saved_settings(folder)
        settings = {k: v for k, v in dataclasses.asdict(own).items() if k not in OWN}
        if not (folder / "result.json").is_file():
            raise ValueError(f"runs: {folder} is not finished; continue it with: duonet train --resume {folder}")
        common = common or settings
        if differ := [
            f"{k} {settings[k]} and {common[k]}" for k in common if k != "dataset" and settings[k] != common[k]
        ]:
            raise ValueError(f"runs: {folder} cannot be compared with {folders[0]}: {', '.join(differ)}")
        if not own.test:
            raise ValueError(f"runs: {folder} was not scored on test images, so it has no test accuracy")
        result, rows = read_result(folder / "result.json", own), read_history(folder / "history.csv")
        saved, about = load_run(folder, settings=own)
        same_data = same_data or [about.get(key) for key in DATA]
        if same_data != [about.get(key) for key in DATA]:
            raise ValueError(
                f"runs: {folder} cannot be compared with {folders[0]}: it was trained on other images"
            )
        kept = {key: result[key] for key in KEPT}
        runs.append({"method": own.method, "seed": own.seed, "history": rows, **kept})
        if own.method not in costs:
            counted = summary(saved.model, tuple(about["in_shape"]))
            costs[own.method] = {
                "weights": sum(counted.total.weights.values()),
                "mbit": counted.mbit,
                "macs": sum(counted.total.macs.values()),
            }
    seen = [(run["method"], run["seed"]) for run in runs]
    if twice := sorted({f"{method}, seed {seed}" for method, seed in seen if seen.count((method, seed)) > 1}):
        raise ValueError(f"runs: given twice: {'; '.join(twice)}")
    order = [method for method in METHODS if method in costs]
    runs.sort(key=lambda run: (order.index(run["method"]), run["seed"]))
    return {"settings": common, "runs": runs, "costs": {method: costs[method] for method in order}}


def runs_table(collected: dict[str, Any]) -> str:
    """Lay out accuracy, time and cost of each method.

    Parameters
    ----------
    collected : dict
        The result of `collect`.

    Returns
    -------
    str
        Accuracies are means over the seeds ± their standard deviation.

    Examples
    --------
    >>> print(runs_table(collect(["runs/a", "runs/b"])))  # doctest: +SKIP
    """
    rows = [("method", "seeds", "test accuracy %", "validation %", "epochs", "weights", "MACs", "minutes")]
    for method, cost in collected["costs"].items():
        runs = [run for run in collected["runs"] if run["method"] == method]
        stages = [_epochs(runs, stage) for stage in (1, 2)]
        minutes = statistics.mean(run["training_seconds"] for run in runs) / 60
        accuracies = [_spread(runs, key) for key in ("test_accuracy", "val_accuracy")]
        epochs = " + ".join(s for s in stages if s != "0")
        costs = f"{cost['weights']:,}", f"{cost['macs'] / 1e6:.2f} M", f"{minutes:.1f}"
        rows.append((METHODS[method].label, str(len(runs)), *accuracies, epochs, *costs))
    return aligned(rows)


def _epochs(runs, stage):
    made = [sum(row["stage"] == stage for row in run["history"]) for run in runs]
    return str(made[0]) if len({*made}) == 1 else f"{min(made)} to {max(made)}"


def _spread(runs, key):
    values = [100 * run[key] for run in runs]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
