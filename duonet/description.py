"""Models, optimisers and schedules as plain JSON values, and back: no pickle, only known classes.

The package's own classes are known, and classes in the argument `classes`; no name in a file is imported.
"""

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from duonet import methods, nn, optim, quant
from duonet.backend import Array
from duonet.generators import Generators
from duonet.module import join
from duonet.tensor import Tensor

ROOMS = {"nn": nn, "quant": quant, "optim": optim, "methods": methods}
BASES = (nn.Module, quant.Staircase, quant.Surrogate, optim.Optimizer, optim.Schedule)
FUNCTIONS = {f.__name__: f for f in (nn.binaryduo_normal, nn.he_normal, methods.wage_uniform)}
FUNCTION, NONE = type(nn.he_normal), type(None)
ARGUMENTS: dict[str, Any] = {  # by name, the arguments other than a plain number, word or list
    "body": nn.Module, "shortcut": (nn.Module, NONE), "staircase": quant.Staircase, "surrogate": quant.Surrogate,
    "rng": np.random.Generator, "init": FUNCTION, "weight_quantizer": (quant.Quantizer, NONE),
    "schedule": (optim.Schedule, NONE), "quantizer": quant.Quantizer, "before": (nn.Module, NONE),
    "weight_source": (nn.WeightSource, NONE),
}  # fmt: skip
PLAIN = (bool, int, float, str, tuple, NONE)
PASSING = ("_observers", "_vectors", "_latent", "parameters")  # attributes that are not saved


def describe(value: Any, generators: Generators, path: str = "", classes: dict[str, type] | None = None) -> Any:
    """Describe a model, optimiser, schedule, staircase or surrogate by JSON values.

    Parameters
    ----------
    value : object
        A model, optimiser, schedule or part of one. Its arrays are not described: they are in `state_dict`.
    generators : Generators
        Gains the generators of the value.
    path : str
        The path of a layer, for messages.
    classes : dict, optional
        Gains, by name, the classes of the value that are not this package's own.

    Returns
    -------
    dict, list, str, number, bool or None

    Raises
    ------
    ValueError
        If the arguments of its constructors cannot describe the value.

    Examples
    --------
    >>> from duonet.generators import Generators
    >>> describe(nn.QuantActivation(quant.Ternary(), quant.Clip(0, 1)), Generators())["class"]
    'nn.QuantActivation'
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [describe(item, generators, path, classes) for item in value]
    if isinstance(value, np.random.Generator):
        return {"generator": generators.number(value)}
    if isinstance(value, FUNCTION) and FUNCTIONS.get(value.__name__) is value:
        return {"function": value.__name__}
    name = next(
        (f"{room}.{type(value).__name__}" for room, module in ROOMS.items()
         if getattr(module, type(value).__name__, None) is type(value)),
        None,
    )  # fmt: skip
    where = f"{path} " if path else ""
    internal = type(value).__module__.split(".")[0] == __package__  # such as a model of `fuse`
    if name is None and (internal or not isinstance(value, BASES)):
        raise ValueError(f"{where}{type(value).__name__} is not one of duonet's own, so no file can rebuild it")
    if name is None:
        name = type(value).__name__
        if classes is not None and classes.setdefault(name, type(value)) is not type(value):
            raise ValueError(f"{where}{name} is the name of two classes, so no file can tell them apart")
    if isinstance(value, (nn.Sequential, nn.ModuleList)):
        layers = [[key, describe(layer, generators, join(path, key), classes)] for key, layer in value.children()]
        return {"class": name, "layers": layers}
    try:
        arguments = _arguments(value)
    except (AttributeError, IndexError) as error:
        raise ValueError(f"{where}{name}: {error}, so no file can rebuild it") from error
    arguments = {
        key: describe(argument, generators, join(path, key), classes) for key, argument in arguments.items()
    }
    return {"class": name, "arguments": arguments}


def by_name(classes: Iterable[type]) -> dict[str, type]:
    """Check classes that are not this package's own.

    Parameters
    ----------
    classes : iterable of type
        Layers, quantisers, staircases, surrogates, optimisers or schedules.

    Returns
    -------
    dict
        From name to class.

    Raises
    ------
    TypeError, ValueError
        If an item is not such a class, or two classes have one name.

    Examples
    --------
    >>> class Mine(quant.Quantizer):
    ...     pass
    >>> list(by_name([Mine]))
    ['Mine']
    """
    known: dict[str, type] = {}
    for cls in classes:
        if not (inspect.isclass(cls) and issubclass(cls, BASES)):
            raise TypeError(f"classes: expected classes of layers, quantisers and the like, got {cls!r:.60}")
        if known.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"classes: two are named {cls.__name__}")
    return known


def rebuild(
    description: Any,
    generators: Generators,
    arrays: dict[str, Array] | None = None,
    path: str = "",
    classes: dict[str, type] | None = None,
    **more: Any,
) -> Any:
    """Rebuild an object from its description by `describe`; weights are zero.

    Parameters
    ----------
    description : dict, list, str, number, bool or None
        Any JSON value: it is checked.
    generators : Generators
        The generators that the description refers to.
    arrays : dict, optional
        The model's `state_dict`. A layer whose arrays would have other shapes is refused.
    path : str
        The path of a layer, for messages and for its arrays.
    classes : dict, optional
        From a name to a class that is not this package's own.
    **more
        Arguments that are missing in the description: an optimiser's parameters.

    Returns
    -------
    object

    Raises
    ------
    TypeError, ValueError
        If the description names an unknown class or function, or arguments that the class does not take.

    Examples
    --------
    >>> from duonet.generators import Generators
    >>> rebuild({"class": "quant.Clip", "arguments": {"low": 0, "high": 1}}, Generators())
    Clip(low=0, high=1, closed=False)
    """
    if isinstance(description, list):
        return tuple(rebuild(item, generators, classes=classes) for item in description)
    if not isinstance(description, dict):
        return description
    match description:
        case {"generator": number, **rest} if not rest:
            return generators.get(number)
        case {"function": str(name), **rest} if not rest:
            return _known(FUNCTIONS, name, "function")
        case {"class": str(name), "layers": list(layers), **rest} if not rest:
            cls, layers = _class(name, classes), _layers(layers, generators, arrays, path, classes)
            if not issubclass(cls, (nn.Sequential, nn.ModuleList)):
                raise ValueError(f"{path or name} cannot have layers")
            return cls(layers.values() if issubclass(cls, nn.ModuleList) else layers)
        case {"class": str(name), "arguments": dict(given), **rest} if not rest:
            cls = _class(name, classes)
        case _:
            raise ValueError(f"{path or 'it'} is described by {', '.join(map(repr, description)):.80}")
    arguments, handed_in = {}, "." not in name
    for key, argument in given.items():
        arguments[key] = rebuild(argument, generators, arrays, join(path, key), classes)
        if not (handed_in or isinstance(arguments[key], ARGUMENTS.get(key, PLAIN))):
            raise TypeError(f"{join(path, key)} cannot be {type(arguments[key]).__name__}")
    try:
        return _make(cls, arguments | more, None if handed_in else arrays, path)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ValueError(f"{path or name}: {error}") from error


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Find a difference between an object and its rebuilt form, apart from the numbers in tensors.

    Parameters
    ----------
    one, other : object
        Models, optimisers, schedules or plain values.
    path : str
        The path of the two objects.

    Returns
    -------
    str or None
        The path of the first difference.

    Examples
    --------
    >>> one, other = nn.Dropout(0.1, rng=np.random.default_rng(0)), nn.Dropout(0.1, rng=np.random.default_rng(0))
    >>> one.seen = 7
    >>> difference(one, other)
    'seen'
    """
    if isinstance(one, BASES):
        one, other = ((type(x), {k: v for k, v in vars(x).items() if k not in PASSING}) for x in (one, other))
        if one[0] is not other[0]:
            return path
        one, other = one[1], other[1]
    if isinstance(one, dict) and isinstance(other, dict):
        parts = [(key, one.get(key), other.get(key)) for key in one | other]
        missing = next((join(path, str(key)) for key in one.keys() ^ other.keys()), None)
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        parts = [(i, a, b) for i, (a, b) in enumerate(zip(one, other))]
        missing = None if len(one) == len(other) else path
    else:
        return None if _same(one, other) else path
    return missing or next(
        (found for key, a, b in parts if (found := difference(a, b, join(path, str(key))))), None
    )


def _same(one, other):
    if isinstance(one, Tensor):
        of = lambda t: (type(t), t.shape, t.dtype, t.requires_grad, vars(t).keys())  # noqa: E731
        return isinstance(other, Tensor) and of(one) == of(other)
    if isinstance(one, np.random.Generator):
        return isinstance(other, np.random.Generator) and _state(one) == _state(other)
    if isinstance(one, np.generic):
        one = one.item()
    if hasattr(one, "shape"):
        alike = (one.shape, one.dtype) == (np.shape(other), getattr(other, "dtype", None))
        return alike and (
            not isinstance(one, np.ndarray) or np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    return one is other or one == other or (one != one and other != other)


def _state(rng):
    table = Generators()
    table.number(rng)
    return table.states()


def _layers(layers, generators, arrays, path, classes):
    """Rebuild the layers of a Sequential."""
    rebuilt = {}
    for layer in layers:
        match layer:
            case [str(name), dict(description)] if name not in rebuilt:
                rebuilt[name] = rebuild(description, generators, arrays, join(path, name), classes)
            case _:
                raise ValueError(f"{path or 'it'} has a layer without its own name and description")
    return rebuilt


def _class(name, classes):
    if "." not in name:
        if name not in (classes or {}):
            raise ValueError(f"the class {name!r:.60} is not one of duonet's own: pass it in classes=[...]")
        return classes[name]
    room, _, name_in_room = name.partition(".")
    cls = getattr(_known(ROOMS, room, "module"), name_in_room, None)
    if not (inspect.isclass(cls) and issubclass(cls, BASES) and cls not in BASES[:1] + BASES[2:]):
        raise ValueError(f"unknown class {name!r:.60}")
    return cls


def _make(cls, arguments, arrays, path):
    """Call the class if its arrays would have the shapes of the file's arrays; weights are not drawn."""
    signature = _signature(cls)
    if "rng" in signature.parameters and "rng" not in arguments:
        arguments["rng"] = np.random.default_rng(0)  # any generator: the weights of the file replace its draws
    bound = signature.bind(**arguments)
    bound.apply_defaults()
    if arrays is not None and issubclass(cls, nn.Module):
        _check_shapes(cls.array_shapes(**bound.arguments), arrays, path)
    if not issubclass(cls, (nn.Linear, nn.Conv2d)) or "init" not in bound.arguments:
        return cls(*bound.args, **bound.kwargs)
    init, bound.arguments["init"] = bound.arguments["init"], _zeros
    layer = cls(*bound.args, **bound.kwargs)
    layer.init = init
    return layer


_signature = functools.cache(inspect.signature)  # of a class; a checkpoint asks a thousand times


def _zeros(rng, shape, stride):
    return np.zeros(shape, np.float32)


def _check_shapes(shapes, arrays, path):
    """Refuse a layer that would take memory for arrays of other shapes than the file's."""
    for name, shape in shapes.items():
        array = arrays.get(join(path, name))
        if array is None or array.shape != shape:
            found = "missing" if array is None else f"{array.shape}"
            raise ValueError(f"its {name} is {found}, but described with shape {shape}")


def _arguments(value):
    """Return the constructor's arguments, which are attributes of the same names."""
    arguments = {}
    for name, parameter in _signature(type(value)).parameters.items():
        if name == "parameters" or (name == "rng" and not hasattr(value, "rng")):
            continue
        given = value.base_lr if name == "lr" and isinstance(value, optim.Optimizer) else getattr(value, name)
        if isinstance(parameter.default, bool) and (given is None or isinstance(given, Tensor)):
            given = given is not None  # such as a bias
        elif isinstance(given, Tensor):  # such as a learned range: its array is in the file
            given = given.numpy().item() if given.size == 1 else given.numpy()
        arguments[name] = given
    return arguments


def _known(table, key, kind):
    if key not in table:
        raise ValueError(f"unknown {kind} {key!r}")
    return table[key]
