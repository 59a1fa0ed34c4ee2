"""The content of a study's results.json, checked before use: it may be damaged, edited or another program's."""

import json
from pathlib import Path
from typing import Any

RESULTS = "results.json"
LARGEST = 1 << 26  # bytes; the largest study writes some 3 MB

# The shapes of its values: a type, [the shape of all items], (a shape, None), or a dict with at least these names.
NUMBER, SHARE = (float, None), float
METHOD = {
    "name": str, "epochs": str, "accuracy": [SHARE], "mean": SHARE, "std": NUMBER,
    "weights": int, "macs": int, "weight_bits": int, "activation_bits": int,
}  # fmt: skip
ROW = {"kind": str, "seed": int, "layer": str} | dict.fromkeys(
    ("cosine", "raw", "low", "high", "coarse_noise", "noise"), NUMBER
)
COSINE = {"layer": str} | dict.fromkeys(("cosine", "raw", "low", "high", "coarse_noise", "noise"), NUMBER)
CONTESTANT = {
    "label": str, "reference": (int, None), "seeds": [int], "accuracy": [SHARE], "cpu_seconds": [NUMBER],
    "mismatch": [{"seed": int, "start": [COSINE], "trained": [COSINE]}],
}  # fmt: skip
COSTS = {
    "weights": int, "operations": float, "mbit": float, "extra": int, "weight_bits": int, "activation_bits": int,
}  # fmt: skip
JOB = {
    "validation": SHARE,
    "test": (SHARE, None),
    "cpu_seconds": NUMBER,
    "parameters": int,
    "macs": int,
    "mismatch": dict,
    **COSTS,
}
MEASURED = {"mismatch": {"start": [COSINE], "trained": [COSINE]}}
RATE = {"rate": float, "means": [SHARE], "diverged": int}
SWEPT = {"name": str, "given": dict, "val_accuracy": SHARE, "test_accuracy": (SHARE, None)}
OWN = {
    "truth": {"surrogate": str, "theta": float, "exact": float},
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
    "contest": {
        "complete": bool,
        "names": [str],
        "settings": {"model": str, "weights": str, "tuning_seeds": int, "rates": [float]},
        "rates": dict,
        "methods": dict,
        "failed": dict,
        "left_out": dict,
    },
    "sweep": {"complete": bool, "settings": dict, "runs": [SWEPT]},
    "tune": {"complete": bool, "settings": {"model": str}},
}
CONTINUED = {"seconds": float, "versions": dict}  # needed to continue a study


def read_study(study: str, path: str | Path, continued: bool = False) -> dict[str, Any]:
    """Read the results.json of a study, finished or not.

    Parameters
    ----------
    study : {"compare", "mismatch", "contest", "sweep", "tune"}
    path : str or Path
        The study's folder, or its results.json under any name.
    continued : bool
        Check also the values that continuing the study needs.

    Returns
    -------
    dict

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is not a results.json of that study; the message names the first difference.
    """
    path = Path(path)
    if path.is_dir() and not (path / RESULTS).exists():
        raise ValueError(f"{study}: {path} holds no study of duonet {study}: it has no {RESULTS}")
    path = path / RESULTS if path.is_dir() else path
    results = read_json(study, path)
    try:
        check_shape(results, STUDIES[study] | (CONTINUED if continued else {}), "the file")
        if study == "mismatch" and (continued or "finished" in results):  # some complete files lack it
            check_shape(results, {"finished": [str]}, "the file")
        for name, row in results["methods"].items() if study == "compare" else ():
            check_shape(row, METHOD, f"row {name}")
        for name, row in results["methods"].items() if study == "contest" else ():
            check_shape(row, CONTESTANT, f"row {name}")
            check_shape(row, COSTS if row["accuracy"] else {}, f"row {name}")
            if len(row["seeds"]) != len(row["accuracy"]):
                raise ValueError(f"row {name} must have an accuracy for each of its seeds")
        for name, row in results["rates"].items() if study == "contest" else ():
            check_shape(row, RATE, f"the rates of {name}")
        for i, row in enumerate(results["records"] if study == "mismatch" else ()):
            check_shape(row, OWN.get(row["kind"], {}), f"row {i}")
    except ValueError as error:
        raise ValueError(f"{study}: {path} is not a {RESULTS} of duonet {study}: {error}") from None
    return results


def read_json(owner: str, path: Path) -> Any:
    """Read a file of JSON.

    Parameters
    ----------
    owner : str
        Name of the command or function, for messages.
    path : Path

    Returns
    -------
    object
        Of any shape: see `check_shape`.

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If the path is not a file, the file is larger than any study's, or it is not JSON; the message names it.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{owner}: {path} is not a file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{owner}: {path} is larger than any {RESULTS}, {path.stat().st_size:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{owner}: {path} is not a JSON file ({type(error).__name__})") from None


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Refuse a value of another shape, and numbers that are too large for a table.

    Parameters
    ----------
    value : object
        A value from JSON.
    shape : type, tuple, list or dict
        A type; (a shape, None) for a value that may be None; [a shape] for a list; a dict of the least content.
    where : str
        Place of the value, for the message.

    Raises
    ------
    ValueError
        If the shape is another; the message names the place, the expected and the given value.

    Examples
    --------
    >>> check_shape({"rates": [0.1, "low"]}, {"rates": [float]}, "the file")
    Traceback (most recent call last):
        ...
    ValueError: rates of the file, 1 must be float, got 'low'
    """
    if isinstance(shape, tuple):
        if value is not None:
            check_shape(value, shape[0], where)
    elif isinstance(shape, list):
        check_shape(value, list, where)
        for i, item in enumerate(value):
            check_shape(item, shape[0], f"{where}, {i}")
    elif isinstance(shape, dict):
        check_shape(value, dict, where)
        for name, inner in shape.items():
            if name not in value:
                raise ValueError(f"{where} has no {name}")
            check_shape(value[name], inner, f"{name} of {where}")
    else:
        allowed = (int, float) if shape is float else shape
        right = isinstance(value, allowed) and (shape is bool or not isinstance(value, bool))
        if not right or (shape in (int, float) and not -1e18 < value < 1e18):
            raise ValueError(f"{where} must be {shape.__name__}, got {repr(value):.60}")
