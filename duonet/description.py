"""Models, optimisers and schedules as plain JSON values, and back: no pickle, only classes of this package."""

import functools
import inspect

import numpy as np

from duonet import nn, optim, quant
from duonet.tensor import Tensor

ROOMS = {"nn": nn, "quant": quant, "optim": optim}
BASES = (nn.Module, quant.Staircase, quant.Surrogate, optim.Optimizer, optim.Schedule)
FUNCTIONS = {
    f.__name__: f for f in (nn.binaryduo_normal, nn.he_normal, quant.layer_scale_sign, quant.filter_scale_sign)
}
FUNCTION, NONE = type(nn.he_normal), type(None)
ARGUMENTS = {  # by name, what is not a plain number, word or list
    "body": nn.Module, "shortcut": (nn.Module, NONE), "staircase": quant.Staircase, "surrogate": quant.Surrogate,
    "rng": np.random.Generator, "init": FUNCTION, "weight_quantizer": (FUNCTION, NONE),
}  # fmt: skip
PLAIN = (bool, int, float, str, tuple, NONE)
PASSING = ("_observers", "_vectors", "parameters")  # attributes that are no part of what is saved


def describe(value, generators, path=""):
    """Describe a model, optimiser, schedule, staircase or surrogate by JSON values.

    Parameters
    ----------
    value : object
        Its arrays are not described: they are in `state_dict`.
    generators : Generators
        Gains those that are met.
    path : str
        Of a layer, for messages.

    Returns
    -------
    dict, list, str, number, bool or None

    Raises
    ------
    ValueError
        If something in it is not this package's own.

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
        return [describe(item, generators, path) for item in value]
    if isinstance(value, np.random.Generator):
        return {"generator": generators.number(value)}
    if FUNCTIONS.get(getattr(value, "__name__", None)) is value:
        return {"function": value.__name__}
    name = next(
        (f"{room}.{type(value).__name__}" for room, module in ROOMS.items()
         if getattr(module, type(value).__name__, None) is type(value)),
        None,
    )  # fmt: skip
    if name is None:
        where = f"{path} " if path else ""
        raise ValueError(f"{where}{type(value).__name__} is not one of duonet's own, so no file can rebuild it")
    if isinstance(value, (nn.Sequential, nn.ModuleList)):
        layers = [[key, describe(layer, generators, _join(path, key))] for key, layer in value.children()]
        return {"class": name, "layers": layers}
    try:
        arguments = _arguments(value)
    except AttributeError as error:
        raise ValueError(f"{path} {name}: {error}") from error
    arguments = {
        key: describe(argument, generators, _join(path, key) if isinstance(argument, nn.Module) else path)
        for key, argument in arguments.items()
    }
    return {"class": name, "arguments": arguments}


def rebuild(description, generators, arrays=None, path="", **more):
    """Make the object again that `describe` described; weights are zero.

    Parameters
    ----------
    description : dict, list, str, number, bool or None
        Any JSON value: it is checked.
    generators : Generators
    arrays : dict, optional
        The model's `state_dict`. No layer is made whose arrays would be of other shapes than those here.
    path : str
        Of a layer, for messages and for its arrays.
    **more
        Arguments that the description leaves out: an optimiser's parameters.

    Returns
    -------
    object

    Raises
    ------
    TypeError, ValueError
        If the description names something that is not this package's own, or arguments that it does not take.

    Examples
    --------
    >>> from duonet.generators import Generators
    >>> rebuild({"class": "quant.Clip", "arguments": {"low": 0, "high": 1}}, Generators())
    Clip(low=0, high=1, closed=False)
    """
    if isinstance(description, list):
        return tuple(rebuild(item, generators) for item in description)
    if not isinstance(description, dict):
        return description
    match description:
        case {"generator": number, **rest} if not rest:
            return generators.get(number)
        case {"function": str(name), **rest} if not rest:
            return _known(FUNCTIONS, name, "function")
        case {"class": "nn.Sequential", "layers": list(layers), **rest} if not rest:
            return nn.Sequential(_layers(layers, generators, arrays, path))
        case {"class": "nn.ModuleList", "layers": list(layers), **rest} if not rest:
            return nn.ModuleList(_layers(layers, generators, arrays, path).values())
        case {"class": str(name), "arguments": dict(given), **rest} if not rest:
            cls = _class(name)
        case _:
            raise ValueError(f"{path or 'it'} is described by {', '.join(map(repr, description)):.80}")
    arguments = {}
    for key, argument in given.items():
        inner = _join(path, key) if key in ("body", "shortcut") else path
        arguments[key] = rebuild(argument, generators, arrays, inner)
        if not isinstance(arguments[key], ARGUMENTS.get(key, PLAIN)):
            raise TypeError(f"{_join(path, key)} cannot be {type(arguments[key]).__name__}")
    try:
        return _make(cls, arguments | more, arrays, path)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path or name}: {error}") from error


def difference(one, other, path=""):
    """Find something in which what was rebuilt differs from what was described, but for the numbers in tensors.

    Parameters
    ----------
    one, other : object
        Models, optimisers, schedules or plain values.
    path : str
        Of the two.

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
        missing = next((_join(path, str(key)) for key in one.keys() ^ other.keys()), None)
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        parts = [(i, a, b) for i, (a, b) in enumerate(zip(one, other))]
        missing = None if len(one) == len(other) else path
    else:
        return None if _same(one, other) else path
    return missing or next(
        (found for key, a, b in parts if (found := difference(a, b, _join(path, str(key))))), None
    )


def _same(one, other):
    if isinstance(one, Tensor):
        of = lambda t: (type(t), t.shape, t.dtype, t.requires_grad, vars(t).keys())  # noqa: E731
        return isinstance(other, Tensor) and of(one) == of(other)
    if isinstance(one, np.random.Generator):
        return isinstance(other, np.random.Generator)
    if isinstance(one, np.generic):
        one = one.item()
    if hasattr(one, "shape"):
        alike = (one.shape, one.dtype) == (np.shape(other), getattr(other, "dtype", None))
        return alike and (
            not isinstance(one, np.ndarray) or np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    return one is other or one == other or (one != one and other != other)


def _layers(layers, generators, arrays, path):
    """Rebuild the layers of a Sequential."""
    rebuilt = {}
    for layer in layers:
        match layer:
            case [str(name), dict(description)] if name not in rebuilt:
                rebuilt[name] = rebuild(description, generators, arrays, _join(path, name))
            case _:
                raise ValueError(f"{path or 'it'} has a layer without a name and a description of its own")
    return rebuilt


def _class(name):
    room, _, name_in_room = name.partition(".")
    cls = getattr(_known(ROOMS, room, "module"), name_in_room, None)
    if not (inspect.isclass(cls) and issubclass(cls, BASES) and cls not in BASES[:1] + BASES[2:]):
        raise ValueError(f"unknown class {name!r:.60}")
    return cls


def _make(cls, arguments, arrays, path):
    """Call the class, once its layer's arrays would have the shapes of the file's; weights are not drawn."""
    weighted = cls in (nn.Linear, nn.Conv2d)
    bound = inspect.signature(cls).bind(**arguments, **({"rng": np.random.default_rng(0)} if weighted else {}))
    bound.apply_defaults()
    if arrays is not None and cls in SHAPES:
        _check_shapes(cls, bound.arguments, arrays, path)
    if not weighted:
        return cls(*bound.args, **bound.kwargs)
    init, bound.arguments["init"] = bound.arguments["init"], _zeros
    layer = cls(*bound.args, **bound.kwargs)
    layer.init = init
    return layer


def _zeros(rng, shape, stride):
    return np.zeros(shape, np.float32)


def _check_shapes(cls, arguments, arrays, path):
    """Refuse a layer that would take memory for arrays of other shapes than the file's."""
    for name, shape in SHAPES[cls](arguments).items():
        array = arrays.get(_join(path, name))
        if array is None or array.shape != shape:
            found = "missing" if array is None else f"{array.shape}"
            raise ValueError(f"its {name} is {found}, but described with shape {shape}")


def _bias(a):
    return {"bias": (a["outputs" if "outputs" in a else "out_channels"],)} if a["bias"] else {}


SHAPES = {  # of the arrays that a layer makes, by its arguments
    nn.Linear: lambda a: {"weight": (a["inputs"], a["outputs"])} | _bias(a),
    nn.Conv2d: lambda a: (
        {"weight": (a["kernel_size"], a["kernel_size"], a["channels"], a["out_channels"])} | _bias(a)
    ),
    nn.BatchNorm: lambda a: dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), (a["channels"],)),
}


@functools.singledispatch
def _arguments(value):
    """Return the constructor's arguments; by default they are attributes of the same names."""
    names = [name for name in inspect.signature(type(value)).parameters if name != "parameters"]
    return {name: getattr(value, name) for name in names}


@_arguments.register
def _(value: optim.Optimizer):
    names = [name for name in inspect.signature(type(value)).parameters if name != "parameters"]
    return {name: getattr(value, name) for name in names} | {"lr": value.base_lr}


@_arguments.register
def _(value: nn.Linear):
    inputs, outputs = _last(2, value.weight)
    return {"inputs": inputs, "outputs": outputs} | _weight_options(value)


@_arguments.register
def _(value: nn.Conv2d):
    size, _, channels, out_channels = _last(4, value.weight)
    return {
        "channels": channels, "out_channels": out_channels, "kernel_size": size,
        "stride": value.stride, "padding": value.padding,
    } | _weight_options(value)  # fmt: skip


@_arguments.register
def _(value: nn.BatchNorm):
    return {"channels": value.gamma.size, "momentum": value.momentum, "eps": value.eps}


@_arguments.register
def _(value: quant.Binary):
    return {"threshold": value.thresholds[0]}


def _last(n, weight):
    """Return the last n sizes of a weight; whether those are all, rebuilding shows."""
    return ((0,) * n + weight.shape)[-n:]


def _weight_options(layer):
    return {"bias": layer.bias is not None, "weight_quantizer": layer.weight_quantizer, "init": layer.init}


def _known(table, key, kind):
    if key not in table:
        raise ValueError(f"unknown {kind} {key!r}")
    return table[key]


def _join(path, name):
    return f"{path}.{name}" if path else name
