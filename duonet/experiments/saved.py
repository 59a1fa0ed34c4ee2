"""A study printed again from its results.json, finished or not, without computing anything."""

import json
from pathlib import Path

from duonet.experiments.compare import table
from duonet.experiments.studies import RESULTS
from duonet.experiments.study_tables import tables
from duonet.text import visible

LARGEST = 1 << 26  # bytes; the largest study writes some 3 MB

# What a table reads: a type, a list of one kind, alternatives, or a dict with at least these names.
NUMBER, SHARE = (float, None), float
METHOD = {
    "name": str, "epochs": str, "accuracy": [SHARE], "mean": SHARE, "std": NUMBER,
    "weights": int, "macs": int, "weight_bits": int, "activation_bits": int,
}  # fmt: skip
ROW = {"kind": str, "seed": int, "layer": str} | dict.fromkeys(
    ("cosine", "raw", "low", "high", "coarse_noise", "noise"), NUMBER
)
OWN = {
    "truth": {"surrogate": str, "exact": float},
    "toy": {"activation": str, "surrogate": str, "state": str, "step": float},
    "evolution": {"estimator": str, "losses": int, "step": float},
    "network": {"network": str, "state": str, "step": float},
}
STUDIES = {
    "compare": {"complete": bool, "settings": {"seeds": int}, "methods": dict},
    "mismatch": {
        "complete": bool,
        "settings": {"seeds": int, "training_steps": int, "steps": [float], "network_steps": [float]},
        "areas": [{"activation": str, "surrogate": str, "area": NUMBER}],
        "records": [ROW],
    },
}


def show(study, path):
    """Lay out the tables of a study from what it wrote.

    Parameters
    ----------
    study : {"compare", "mismatch"}
    path : str or Path
        The study's folder, or its results.json under any name.

    Returns
    -------
    str
        Under the tables of a study that was stopped, which of its parts are finished.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is no results.json of that study; says where it departs from one.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    results = _read(study, path)
    try:
        _check(results, STUDIES[study], "the file")
        rows = results.get("methods", {}).items() if study == "compare" else enumerate(results["records"])
        for name, row in rows:
            _check(row, METHOD if study == "compare" else OWN.get(row["kind"], {}), f"row {name}")
        done = _finished_methods(results) if study == "compare" else _finished_tasks(results)
    except ValueError as error:
        raise ValueError(f"{study}: {path} is no results.json of duonet {study}: {error}") from None
    text = table(results) if study == "compare" else "\n\n".join(tables(results).values())
    return text if results["complete"] else f"{text}\n\nStopped before its end; finished are: {visible(done)}"


def _read(study, path):
    if path.exists() and not path.is_file():
        raise ValueError(f"{study}: {path} is neither a folder nor a file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{study}: {path} is larger than any results.json, {path.stat().st_size:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{study}: {path} is no JSON file ({type(error).__name__})") from None


def _finished_methods(results):
    counts = {row["name"]: len(row["accuracy"]) for row in results["methods"].values()}
    seeds = results["settings"]["seeds"]
    return ", ".join(f"{name} ({n} of {seeds} seeds)" for name, n in counts.items()) or "none"


def _finished_tasks(results):
    finished = results.get("finished", [])
    _check(finished, [str], "finished")
    return ", ".join(finished) or "none"


def _check(value, shape, where):
    """Refuse a value of another shape, and numbers that no table can hold."""
    if isinstance(shape, tuple):
        if value is not None:
            _check(value, shape[0], where)
    elif isinstance(shape, list):
        _check(value, list, where)
        for i, item in enumerate(value):
            _check(item, shape[0], f"{where}, {i}")
    elif isinstance(shape, dict):
        _check(value, dict, where)
        for name, inner in shape.items():
            if name not in value:
                raise ValueError(f"{where} has no {name}")
            _check(value[name], inner, f"{name} of {where}")
    else:
        allowed = (int, float) if shape is float else shape
        right = isinstance(value, allowed) and (shape is bool or not isinstance(value, bool))
        if not right or (shape in (int, float) and not -1e18 < value < 1e18):
            raise ValueError(f"{where} must be {shape.__name__}, got {repr(value):.60}")
