"""Everything that a checkpoint describes, rebuilt. The file is not trusted: every value is checked before use."""

from typing import Any

from duonet import nn
from duonet.backend import Array
from duonet.description import describe, rebuild
from duonet.generators import Generators
from duonet.history import History
from duonet.optim import Optimizer, Schedule

META: dict[str, Any] = {
    "model": dict, "optimizer": (dict, type(None)), "optimized": list, "schedule": (dict, type(None)),
    "generators": list, "named": dict, "history": list, "about": dict, "versions": dict, "frozen": list,
    "evaluating": list,
}  # fmt: skip
DEPTH = 200


def restored(
    arrays: dict[str, Array], meta: dict[str, Any], device: str = "cpu", classes: dict[str, type] | None = None
) -> dict[str, Any]:
    """Rebuild everything.

    Parameters
    ----------
    arrays : dict
        The arrays of a checkpoint.
    meta : dict
        The description of the checkpoint: any JSON values, which are checked.
    device : {"cpu", "gpu"}
        The device for model and optimiser.
    classes : dict, optional
        From a name to a class that is not duonet's own.

    Returns
    -------
    dict
        From the fields of `Checkpoint` to their values.

    Raises
    ------
    TypeError, ValueError
        If duonet writes no such description.

    Examples
    --------
    >>> restored({"meta": None}, {"model": "nn.ReLU"})
    Traceback (most recent call last):
        ...
    ValueError: model in its description is a str
    """
    for name, kind in META.items():
        if name not in meta or not isinstance(meta[name], kind):
            found = f"a {type(meta[name]).__name__}" if name in meta else "missing"
            raise ValueError(f"{name} in its description is {found}")
    if not all(isinstance(row, dict) for row in meta["history"]):
        raise ValueError("history in its description is not a list of rows")
    _check_depth(meta)
    state, moments = (_under(prefix, arrays) for prefix in ("model/", "optimizer/"))
    if len(state) + len(moments) + 1 != len(arrays) or (moments and meta["optimizer"] is None):
        raise ValueError("it holds arrays without an owner")
    table = Generators.of(meta["generators"])
    model = _made(nn.Module, meta["model"], table, classes, state)
    _fill(model, state, meta)
    model.to(device)
    optimizer = None
    if meta["optimizer"] is not None:
        named = dict(model.named_parameters())
        parameters = [_one(named, path, "parameter") for path in meta["optimized"]]
        optimizer = _made(Optimizer, meta["optimizer"], table, classes, parameters=parameters)
        optimizer.load_state_dict(moments)
    schedule = None if meta["schedule"] is None else _made(Schedule, meta["schedule"], table, classes)
    generators = {name: table.get(number) for name, number in meta["named"].items()}
    made = {"model": model, "optimizer": optimizer, "schedule": schedule, "generators": generators}
    return made | {"history": History(meta["history"]), "about": meta["about"], "versions": meta["versions"]}


def _made(kind, description, table, classes, *arrays, **more):
    """Rebuild an object, and refuse it if its own description differs from the given one."""
    made = rebuild(description, table, *arrays, classes=classes, **more)
    if not isinstance(made, kind) or describe(made, table) != description:
        raise ValueError(f"its description of the {kind.__name__.lower()} is not one that duonet writes")
    return made


def _fill(model, state, meta):
    """Give a rebuilt model its arrays in the file's dtypes, its frozen parameters and its layers' modes."""
    tensors, layers = dict(model._tensors()), dict(model.modules())
    for path, tensor in tensors.items():
        if path in state and state[path].dtype.kind == "f":
            tensor.data = tensor.data.astype(state[path].dtype)
    model.load_state_dict(state)
    for path in meta["frozen"]:
        _one(tensors, path, "parameter").requires_grad = False
    for path in meta["evaluating"]:
        _one(layers, path, "layer").training = False


def _one(things, path, kind):
    if not isinstance(path, str) or path not in things:
        raise ValueError(f"it names a {kind} {path!r:.60}, which its model does not have")
    return things[path]


def _check_depth(meta):
    """Refuse a description so deep that walking it would raise RecursionError."""
    level = [meta]
    for _ in range(DEPTH):
        level = [
            x for v in level if isinstance(v, (dict, list)) for x in (v.values() if isinstance(v, dict) else v)
        ]
    if level:
        raise ValueError(f"its description is nested more than {DEPTH} levels deep")


def _under(prefix, arrays):
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
