"""Models, optimisers and generators as plain JSON values, and back: no pickle, only classes of this package."""

import functools
import inspect

import numpy as np

from duonet import nn, optim, quant

ROOMS = {"nn": nn, "quant": quant, "optim": optim}
BASES = (nn.Module, quant.Staircase, quant.Surrogate, optim.Optimizer, optim.Schedule)
FUNCTIONS = {
    f.__name__: f for f in (nn.binaryduo_normal, nn.he_normal, quant.layer_scale_sign, quant.filter_scale_sign)
}
BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class Generators:
    """Random generators by number: one that is used in two places stays one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> generators = Generators()
    >>> generators.number(rng), generators.number(np.random.default_rng(1)), generators.number(rng)
    (0, 1, 0)
    >>> Generators.of(generators.states()).found[0].random() == rng.random()
    True
    """

    def __init__(self):
        self.found = []

    @classmethod
    def of(cls, states):
        """Rebuild them from `states()`."""
        generators = cls()
        for state in states:
            if state["bit_generator"] not in BIT_GENERATORS:
                raise ValueError(f"unknown bit generator {state['bit_generator']!r}")
            bits = getattr(np.random, state["bit_generator"])()
            bits.state = _map_arrays(state, lambda x: np.array(x, np.uint64) if isinstance(x, list) else x)
            generators.found.append(np.random.Generator(bits))
        return generators

    def number(self, rng):
        """Return the generator's number, a new one if it has none yet."""
        for i, known in enumerate(self.found):
            if known is rng:
                return i
        self.found.append(rng)
        return len(self.found) - 1

    def states(self):
        """List the state of each."""
        listed = lambda x: x.tolist() if isinstance(x, np.ndarray) else x  # noqa: E731
        return [_map_arrays(rng.bit_generator.state, listed) for rng in self.found]


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
    arguments = {
        key: describe(argument, generators, _join(path, key) if isinstance(argument, nn.Module) else path)
        for key, argument in _arguments(value).items()
    }
    return {"class": name, "arguments": arguments}


def rebuild(description, generators, **more):
    """Make the object again that `describe` described; weights are zero.

    Parameters
    ----------
    description : dict, list, str, number, bool or None
    generators : Generators
    **more
        Arguments that the description leaves out: an optimiser's parameters.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If the description names something that is not this package's own, or arguments that it does not take.

    Examples
    --------
    >>> rebuild({"class": "quant.Clip", "arguments": {"low": 0, "high": 1}}, Generators())
    Clip(low=0, high=1, closed=False)
    """
    if isinstance(description, list):
        return tuple(rebuild(item, generators) for item in description)
    if not isinstance(description, dict):
        return description
    if "generator" in description:
        return generators.found[description["generator"]]
    if "function" in description:
        return _known(FUNCTIONS, description["function"], "function")
    room, _, name = description["class"].partition(".")
    cls = getattr(_known(ROOMS, room, "module"), name, None)
    if not (inspect.isclass(cls) and issubclass(cls, BASES)):
        raise ValueError(f"unknown class {description['class']!r}")
    if cls in (nn.Sequential, nn.ModuleList):
        layers = {key: rebuild(layer, generators) for key, layer in description["layers"]}
        return cls(layers if cls is nn.Sequential else layers.values())
    arguments = {key: rebuild(argument, generators) for key, argument in description["arguments"].items()}
    if cls in (nn.Linear, nn.Conv2d):
        init = arguments.pop("init")
        layer = cls(
            **arguments, rng=np.random.default_rng(0), init=lambda rng, shape, stride: np.zeros(shape, np.float32)
        )
        layer.init = init
        return layer
    return cls(**arguments, **more)


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
    inputs, outputs = value.weight.shape
    return {"inputs": inputs, "outputs": outputs} | _weight_options(value)


@_arguments.register
def _(value: nn.Conv2d):
    size, _, channels, out_channels = value.weight.shape
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


def _weight_options(layer):
    return {"bias": layer.bias is not None, "weight_quantizer": layer.weight_quantizer, "init": layer.init}


def _known(table, key, kind):
    if key not in table:
        raise ValueError(f"unknown {kind} {key!r}")
    return table[key]


def _join(path, name):
    return f"{path}.{name}" if path else name


def _map_arrays(state, change):
    """Apply `change` to every value of a nested dict."""
    return {k: _map_arrays(v, change) if isinstance(v, dict) else change(v) for k, v in state.items()}
