"""Checks of the files in a run folder, which may be damaged or another program's, and the folder's lock."""

import contextlib
import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from duonet import backend
from duonet.checkpoint import Checkpoint
from duonet.diagnosis import first_not_finite
from duonet.experiments.fields import BadSetting
from duonet.experiments.methods import METHODS
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.study_file import check_shape
from duonet.history import History
from duonet.module import Module
from duonet.tape import no_grad
from duonet.tensor import Tensor

PIXELS = 1 << 26  # the most in one image; more would be a fault, and not a network's input
COSTS = ("weights", "parameters", "macs", "weight_bits", "activation_bits")  # of a `Summary`
NETWORK = {"name": str, "epochs": str, "accuracy": float, "loss": float, "validation": [float]} | dict.fromkeys(
    COSTS, int
)
DECOUPLING = {
    "float64_images": int, "float64_relative_difference": float, "float32_images": int,
    "float32_changed_predictions": int,
}  # fmt: skip
COLUMNS = ("stage", "epoch", "lr", "loss", "accuracy", "seconds", "val_loss", "val_accuracy")


class RunInUse(RuntimeError):
    """Another process is training in the same folder."""


class CannotWrite(RuntimeError):
    """A file of the run cannot be written: a full disk, a folder without permission."""


def check_about(path: Path, about: Any) -> None:
    """Check a checkpoint's description of its run.

    Parameters
    ----------
    path : Path
        The checkpoint, for messages.
    about : object
        The description, as it was read.

    Raises
    ------
    ValueError
        If something is missing or wrong; the message names the file and the problem.

    Examples
    --------
    >>> check_about(Path("a.npz"), None)
    Traceback (most recent call last):
        ...
    ValueError: a.npz is not the checkpoint of a training run: it does not describe one
    """
    if not isinstance(about, dict):
        raise ValueError(f"{path} is not the checkpoint of a training run: it does not describe one")
    missing = [key for key in ("in_shape", "class_names", "mean", "std", "train_sha256") if key not in about]
    if missing:
        raise ValueError(f"{path} is not the checkpoint of a training run: it does not give {', '.join(missing)}")
    shape, names = about["in_shape"], about["class_names"]
    fits = _list(shape, lambda n: _whole(n) and n > 0) and len(shape) == 3 and math.prod(shape) <= PIXELS
    _must(fits, path, "in_shape", shape)
    _must(_list(names, lambda name: isinstance(name, str)) and len(names) > 1, path, "class_names", names)
    for name in ("mean", "std"):
        fits = _list(about[name], _number) and len(about[name]) == shape[2]
        _must(fits and (name == "mean" or min(about[name]) > 0), path, name, about[name])
    _must(isinstance(about["train_sha256"], str), path, "train_sha256", about["train_sha256"])
    if "settings" in about:
        made_settings(path, about["settings"])


def check_network(path: Path, model: Module, about: dict[str, Any], device: str) -> None:
    """Refuse, by a ValueError, a network that is not finite, or does not fit the images or classes of its run."""
    if (where := first_not_finite(model)) is not None:
        raise ValueError(f"{path} is damaged: {where} of its network is not finite")
    image = backend.to_device(np.zeros((1, *about["in_shape"]), np.float32), device)
    try:
        with no_grad():
            shape = model.eval()(Tensor(image)).shape
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its network does not take its images: {error}") from None
    if shape != (1, len(about["class_names"])):
        raise ValueError(
            f"{path} is damaged: its network gives {shape} for one image and {len(about['class_names'])} classes"
        )


def made_settings(path: Path, values: Any) -> RunSettings:
    """Make the settings that a file holds as a dict; a ValueError names the file and the wrong setting."""
    _must(isinstance(values, dict), path, "settings", values)
    known = RunSettings.__dataclass_fields__
    odd = [f"lack {name}" for name in ("model", "dataset") if name not in values]
    odd += [f"have an unknown {name!r:.60}" for name in values if name not in known]
    if odd:
        raise ValueError(f"{path} is damaged: its settings {odd[0]}")
    try:
        return RunSettings(**values)
    except BadSetting as error:
        raise ValueError(f"{path} is damaged: {error.name} {error.problem}") from None


def check_agreement(path: Path, about: dict[str, Any], settings: RunSettings) -> None:
    """Refuse a checkpoint of another run than the run in the settings.toml beside it, by a ValueError."""
    differences = made_settings(path, about.get("settings")).differences(settings)
    if differences:
        raise ValueError(f"{path} does not belong to the run beside it: {'; '.join(differences)}")


def check_progress(
    path: Path, saved: Checkpoint, epochs: list[int], stop: Callable[[History], bool] | None = None
) -> None:
    """Check that a run can continue from a checkpoint: its stage, rows, optimiser and generator.

    Parameters
    ----------
    path : Path
    saved : Checkpoint
    epochs : list of int
        The largest number for each stage.
    stop : callable, optional
        From the history of a stage to whether it ends; see `early_stop`.

    Raises
    ------
    ValueError
        If it cannot; the message names the file and the problem.
    """
    about: Any = saved.about
    stage, earlier = about.get("stage"), about.get("earlier")
    _must(_whole(stage) and 1 <= stage <= len(epochs), path, "stage", stage)
    there = check_rows(path, earlier, empty=True)
    made = [_made([row for row in there if row["stage"] == i + 1], epochs[i], stop) for i in range(stage - 1)]
    wanted = [(i + 1, epoch + 1) for i in range(stage - 1) for epoch in range(made[i])]
    _must([(row["stage"], row["epoch"]) for row in there] == wanted, path, "earlier", earlier)
    rows = saved.history.rows
    there = check_rows(path, [row | {"stage": stage} if isinstance(row, dict) else row for row in rows])
    _must([row["epoch"] for row in there] == list(range(1, len(rows) + 1)), path, "history", rows)
    _must(len(rows) <= _made(rows, epochs[stage - 1], stop), path, "history", rows)
    _must(saved.optimizer is not None, path, "optimizer", None)
    _must("loader" in saved.generators, path, "generators", sorted(saved.generators))


def _made(rows, epochs, stop):
    """Return after how many epochs a stage of these figures ends."""
    ends = (n for n in range(1, min(epochs, len(rows) + 1)) if stop is not None and stop(History(rows[:n])))
    return next(ends, epochs)


def check_rows(path: Path, rows: Any, empty: bool = False) -> list[dict[str, Any]]:
    """Return the rows of a history; a ValueError names the file and the first wrong value."""
    _must(isinstance(rows, list) and (empty or rows), path, "history", rows)
    for row in rows:
        _must(isinstance(row, dict), path, "history", row)
        for name in (*COLUMNS, *(row.keys() - set(COLUMNS))):  # others: a penalty, and values that follow time
            value = row.get(name)
            fits = _number(value) or (name == "val_loss" and isinstance(value, float))  # which may overflow
            fits = fits and (name not in ("accuracy", "val_accuracy") or _share(value))
            fits = fits and (name not in ("stage", "epoch") or (value >= 1 and value == int(value)))
            _must(fits, path, f"{name} of an epoch", value)
    return rows


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read history.csv.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        A row of floats for each epoch.

    Raises
    ------
    ValueError
        If the file is damaged; the message names it and the problem.
    """
    rows: list[list[str]] = []
    for line in csv.reader(_text(path).splitlines()):
        if not rows:
            fits = len({*line}) == len(line) and {*COLUMNS} <= {*line} and all(map(str.isidentifier, line))
            _must(fits, path, "columns", line)
        rows.append(line)
        _must(len(line) == len(rows[0]), path, "a line", line)
    named = [
        [(name, value) for name, value in zip(rows[0], line) if value or name in COLUMNS] for line in rows[1:]
    ]  # other figures may be missing in a stage
    found = [{name: _float(value) for name, value in row} for row in named]
    return check_rows(path, found)


def read_result(path: Path, settings: RunSettings) -> dict[str, Any]:
    """Read result.json.

    Parameters
    ----------
    path : Path
    settings : RunSettings
        The run's settings, resolved.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file is damaged or belongs to another run; the message names it and the problem.
    """
    try:
        result = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    _must(isinstance(result, dict), path, "contents", result)
    if differences := made_settings(path, result.get("settings")).differences(settings):
        raise ValueError(f"{path} does not belong to the run beside it: {'; '.join(differences)}")
    for name in ("test_accuracy", "val_accuracy") if settings.test else ("val_accuracy",):
        _must(_share(result.get(name)), path, name, result.get(name))
    best, seconds = result.get("best_epoch"), result.get("training_seconds")
    _must(_whole(best) and best >= 1, path, "best_epoch", best)
    _must(_number(seconds) and seconds >= 0, path, "training_seconds", seconds)
    _must(isinstance(result.get("versions"), dict), path, "versions", result.get("versions"))
    _check_networks(path, result, settings)
    return result


def _check_networks(path, result, settings):
    """Check a result's rows of the scored networks, and of decoupling."""
    on_the_way = METHODS[settings.method].on_the_way
    names = [*on_the_way, settings.method] if settings.test else []
    try:
        check_shape(result, {"networks": [NETWORK]}, "the file")
        if on_the_way and settings.test:
            check_shape(result, {"decoupling": DECOUPLING}, "the file")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    found = [row["name"] for row in result["networks"]]
    _must(found == names, path, "networks", found)
    shares = [share for row in result["networks"] for share in (row["accuracy"], *row["validation"])]
    _must(all(map(_share, shares)), path, "the accuracies", shares)


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is damaged: it is not written in UTF-8") from None


def _must(holds, path, name, value):
    if not holds:
        raise ValueError(f"{path} is damaged: {name} cannot be {repr(value):.60}")


def _list(value, fits):
    return isinstance(value, list) and all(map(fits, value))


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value):
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= 1e300  # no infinity, no NaN, and no int that a float cannot hold


def _share(value):
    return _number(value) and 0 <= value <= 1


def _float(text):
    try:
        return float(text)
    except (ValueError, TypeError):
        return None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a message that names the file, and that earlier files are whole.

    Parameters
    ----------
    path : Path

    Yields
    ------
    None

    Raises
    ------
    CannotWrite
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be written ({error.strerror or error}); all earlier files are whole, and the run can "
            "be resumed"
        ) from error


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second process out of a folder; the system frees the lock even if this process is killed.

    Parameters
    ----------
    out : Path

    Yields
    ------
    None

    Raises
    ------
    RunInUse, CannotWrite
        If another process holds the lock; if the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".lock", timeout=0)
    with writing(out / ".lock"):
        try:
            lock.acquire()
        except Timeout:
            raise RunInUse(f"another process is training in {out}") from None
    try:
        yield
    finally:
        lock.release()
