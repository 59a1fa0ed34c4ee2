"""Checkpoints: one npz file, without pickle, from which training continues with the same bits."""

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duonet.archive import NotAnArchive, pack, unpack
from duonet.description import by_name, describe, difference
from duonet.files import replacing
from duonet.generators import Generators
from duonet.history import History
from duonet.nn import Module
from duonet.optim import Optimizer, Schedule
from duonet.restore import restored
from duonet.version import VERSION

FORMAT = 3
KIND = "duonet checkpoint"


class CheckpointError(ValueError):
    """A file that is damaged, not a checkpoint or from a newer duonet, or a model that no file can rebuild."""


class Checkpoint(NamedTuple):
    """The rebuilt contents of a checkpoint.

    Attributes
    ----------
    model : Module
        Layers keep their mode, parameters their frozen state, and arrays their dtype.
    optimizer : Optimizer or None
        An optimiser of the model's parameters, in its saved state.
    schedule : Schedule or None
    generators : dict
        From the names given when saving to numpy.random.Generator, in its saved state.
    history : History
        The epochs so far.
    about : dict
        The `about` given when saving.
    versions : dict
        Of duonet, NumPy and Python, when saving.
    """

    model: Module
    optimizer: Optimizer | None
    schedule: Schedule | None
    generators: dict[str, np.random.Generator]
    history: History
    about: dict[str, Any]
    versions: dict[str, str]


def save_checkpoint(
    path: str | Path,
    model: Module,
    *,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    generators: dict[str, np.random.Generator] | None = None,
    history: History | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Write everything that training needs to continue; the complete new file replaces an older file.

    Parameters
    ----------
    path : str or Path
    model : Module
        A model of layers whose constructors' arguments are attributes of the same names, except an `rng` that only
        draws the weights. Layers that draw numbers (dropout) are saved with the state of their generators.
    optimizer : Optimizer, optional
        An optimiser of parameters of `model`.
    schedule : Schedule, optional
    generators : dict, optional
        From a name to a numpy.random.Generator, such as the data loader's.
    history : History, optional
    about : dict, optional
        Anything that JSON can hold: settings, class names, normalisation.

    Raises
    ------
    CheckpointError
        If the model, optimizer or schedule holds something that no file can rebuild; the message names it.
    OSError
        If the file cannot be written; an older file then stays.

    Examples
    --------
    >>> import tempfile
    >>> from duonet import Tensor, nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/a.npz", model, optimizer=optim.SGD(model.parameters(), lr=0.1))
    ...     saved = load_checkpoint(f"{folder}/a.npz")
    >>> saved.optimizer.lr, saved.model
    (0.1, Sequential()
      0: Linear(2, 1))
    """
    table = Generators()
    classes: dict[str, type] = {}
    try:
        _refuse_shared(model)
        meta = {
            "kind": KIND,
            "format": FORMAT,
            "model": describe(model, table, classes=classes),
            "frozen": [path for path, parameter in model.named_parameters() if not parameter.requires_grad],
            "evaluating": [path for path, layer in model.modules() if not layer.training],
            "optimizer": describe(optimizer, table, classes=classes),
            "optimized": _paths(model, optimizer),
            "schedule": describe(schedule, table, classes=classes),
            "named": {name: table.number(rng) for name, rng in (generators or {}).items()},
            "history": [] if history is None else history.rows,
            "about": about or {},
            "versions": {
                "duonet": VERSION, "numpy": np.__version__, "python": platform.python_version()
            },
        }  # fmt: skip
        meta["generators"] = table.states()
        arrays = {f"model/{name}": array for name, array in model.state_dict().items()}
        if optimizer is not None:
            arrays |= {f"optimizer/{name}": array for name, array in optimizer.state_dict().items()}
        arrays["meta"] = np.array(json.dumps(meta))
        saved = {
            "model": model, "optimizer": optimizer, "schedule": schedule, "generators": generators or {},
            "history": meta["history"], "about": meta["about"],
        }  # fmt: skip
        _check_whole(saved, arrays, classes)
        packed = pack(arrays | {"sha256": np.array(_digest(arrays))})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"save_checkpoint: {_said(error)}; save_weights keeps the weights alone") from None
    _write(path, packed)


def load_checkpoint(path: str | Path, device: str = "cpu", classes: Iterable[type] = ()) -> Checkpoint:
    """Rebuild model, optimiser, schedule and generators from a file of `save_checkpoint` alone.

    Parameters
    ----------
    path : str or Path
    device : {"cpu", "gpu"}
        The device for model and optimiser.
    classes : iterable of type
        The model's classes that are not duonet's own; the file only names them, and no name in it is imported.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If the file is damaged, not a checkpoint, from a newer duonet, or names an unknown class; the message says
        which.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> load_checkpoint(__file__)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    duonet.checkpoint.CheckpointError: load_checkpoint: ... is damaged, or not a checkpoint: ...
    """
    known = by_name(classes)
    arrays, meta = _read(path)
    try:
        return Checkpoint(**restored(arrays, meta, device, known))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"load_checkpoint: {path} cannot be rebuilt: {_said(error)}") from error


def load_model(path: str | Path, device: str = "cpu", classes: Iterable[type] = ()) -> Module:
    """Rebuild a model from a checkpoint alone, in evaluation mode.

    Parameters
    ----------
    path : str or Path
    device : {"cpu", "gpu"}
    classes : iterable of type
        The model's classes that are not duonet's own.

    Returns
    -------
    Module

    Raises
    ------
    CheckpointError, FileNotFoundError
        As `load_checkpoint`.

    Examples
    --------
    >>> import tempfile
    >>> from duonet import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/a.npz", nn.Sequential(nn.ReLU()))
    ...     load_model(f"{folder}/a.npz")
    Sequential()
      0: ReLU()
    """
    return load_checkpoint(path, device, classes).model.eval()


def save_weights(path: str | Path, model: Module) -> None:
    """Write every parameter and buffer of a model to one npz file; the complete new file replaces an older file.

    It serves models that no file can rebuild; `save_checkpoint` also keeps the structure of the model.

    Parameters
    ----------
    path : str or Path
    model : Module

    Raises
    ------
    OSError
        If the file cannot be written; an older file then stays.

    Examples
    --------
    >>> import tempfile
    >>> from duonet import nn
    >>> model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/model.npz", model)
    ...     load_weights(f"{folder}/model.npz", nn.Linear(2, 1, rng=np.random.default_rng(1)))
    """
    _write(path, pack(model.state_dict()))


def load_weights(path: str | Path, model: Module) -> None:
    """Read a file of `save_weights` into a model of the same shape; a file that does not fit changes nothing.

    Parameters
    ----------
    path : str or Path
    model : Module

    Raises
    ------
    ValueError
        If the file was not written by `save_weights` or is damaged, or its keys or shapes are not the model's.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> from duonet import nn
    >>> load_weights(__file__, nn.Flatten())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load_weights: ... is not a complete npz file of weights: it is not a complete zip archive
    """
    try:
        state = unpack(path)
    except NotAnArchive as error:
        raise ValueError(f"load_weights: {path} is not a complete npz file of weights: {error}") from None
    model.load_state_dict(state)


def _check_whole(saved, arrays, classes):
    """Rebuild the contents before the file is written, and refuse contents that would come back changed."""
    twin = restored(arrays, json.loads(arrays["meta"].item()), classes=classes)
    twin["history"] = twin["history"].rows
    for name, value in saved.items():
        found = difference(value, twin[name], "" if name == "model" else name)
        if found is not None:
            raise ValueError(f"{found or name} would come back changed, so no file can rebuild it")


def _write(path, packed):
    # The bytes are made in memory: a zip file on a full disk complains again, on stderr, when it is collected.
    with replacing(path) as part:
        part.write_bytes(packed)


def _read(path):
    """Return a checkpoint's arrays and its parsed description, once the checksum is right."""
    try:
        arrays = unpack(path)
    except NotAnArchive as error:
        raise CheckpointError(f"load_checkpoint: {path} is damaged, or not a checkpoint: {error}") from None
    digest = arrays.pop("sha256", None)
    try:
        meta = json.loads(arrays["meta"].item())
        foreign = meta["kind"] != KIND or not isinstance(meta["format"], int)
    except (KeyError, ValueError, TypeError, RecursionError):
        foreign = True
    if foreign:
        raise CheckpointError(f"load_checkpoint: {path} is an npz file, but not a checkpoint of duonet")
    if meta["format"] != FORMAT:
        age = "a newer" if meta["format"] > FORMAT else "an older"
        raise CheckpointError(
            f"load_checkpoint: {path} was written by {age} duonet (format {meta['format']}); "
            f"duonet {VERSION} reads format {FORMAT}"
        )
    if digest is None or str(digest) != _digest(arrays):
        raise CheckpointError(f"load_checkpoint: {path} is damaged: its checksum does not match its contents")
    return arrays, meta


def _digest(arrays):
    """Return the SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _paths(model, optimizer):
    """List the paths of the parameters that the optimiser updates, in its order."""
    if optimizer is None:
        return []
    paths = {id(parameter): path for path, parameter in model.named_parameters()}
    if any(id(parameter) not in paths for parameter in optimizer.parameters):
        raise ValueError("the optimizer updates a parameter that is not the model's")
    return [paths[id(parameter)] for parameter in optimizer.parameters]


def _refuse_shared(model):
    for kind, things in (("layer", model.modules), ("tensor", model._tensors)):
        seen = {}
        for path, thing in things(every_path=True):
            if seen.setdefault(id(thing), path) != path:
                raise ValueError(f"{path} and {seen[id(thing)]} are one {kind}, so no file can rebuild it")


def _said(error):
    """Return the message of an error as one line that a terminal can show."""
    return "".join(c if c.isprintable() else "?" for c in f"{error}")[:300]
