"""The networks that the fast form serves: chains of layers that compute what their class tags state."""

from collections.abc import Callable
from typing import Any

from duonet import nn
from duonet.module import Module, join
from duonet.quant import Staircase
from duonet.tape import smooth


class CannotServe(ValueError):
    """A model or layer that only the general form serves; the message says why."""


def chain(model: Module, path: str) -> tuple[list[Module], int]:
    """List the layers of nested Sequentials in order, and the place of the layer at `path` among them.

    Parameters
    ----------
    model : Module
    path : str
        Path of a Linear or Conv2d layer.

    Returns
    -------
    list of Module
    int

    Raises
    ------
    CannotServe
        If the model is not a chain of such layers, a layer mixes samples, or the weights of the layer at `path`
        are quantised or shared.

    Examples
    --------
    >>> from numpy.random import default_rng
    >>> chain(nn.Sequential(nn.ReLU(), nn.Linear(2, 1, rng=default_rng(0))), "1")
    ([ReLU(), Linear(2, 1)], 1)
    """
    if smooth():
        raise CannotServe("surrogates replace the staircases, and need not rise")
    leaves = list(_leaves(model, ""))
    for name, layer in leaves:
        if unknown := next(filter(None, map(_unknown, _reading(layer))), None):
            raise CannotServe(f"{name or 'the model'} holds a {unknown}")
    places = [k for k, (name, _) in enumerate(leaves) if name == path]
    if not places:
        raise CannotServe("the layer is not part of a plain chain of layers")
    layer = leaves[places[0]][1]
    if type(layer) not in (nn.Linear, nn.Conv2d):
        raise CannotServe(f"it is a {type(layer).__name__}, neither Linear nor Conv2d")
    if layer.weight_quantizer is not None:
        raise CannotServe("its weights are quantised, so moving one weight changes the scale of all")
    holders = [m for _, m in leaves for _, t in m.named_parameters() if t is layer.weight]
    if len(holders) > 1:
        raise CannotServe("its weight is used more than once")
    return [m for _, m in leaves], places[0]


def _reading(layer):
    """List the layers that see samples; layers that make or quantise weights see no sample."""
    modules = [module for _, module in layer.modules()]
    names = "weight_quantizer", "weight_source"
    of_weights = [getattr(module, name, None) for module in modules for name in names]
    return [module for module in modules if module not in of_weights]


def _unknown(layer):
    """Return what the fast form does not know about a layer; "" where its class tags state everything."""
    if "forward" in vars(layer):
        return f"{type(layer).__name__} whose forward has been replaced"
    if not layer.samplewise:
        return f"{type(layer).__name__}, which the fast form does not know"
    for staircase in (v for key, v in vars(layer).items() if key == "staircase" or isinstance(v, Staircase)):
        if not (isinstance(staircase, Staircase) and staircase.tabular):
            return f"{type(staircase).__name__}, which computes something of its own"
        try:
            table(staircase)
        except ValueError as reason:
            return f"{type(staircase).__name__} that is not a staircase ({reason})"
    return ""


def _leaves(module, path):
    if type(module) is not nn.Sequential or "forward" in vars(module):
        yield path, module
        return
    for name, child in module.children():
        yield from _leaves(child, join(path, name))


def table(staircase: Staircase, part: Callable[..., Any] = lambda threshold: threshold) -> Staircase:
    """Return a staircase for some of the channels, made of thresholds and levels alone.

    Parameters
    ----------
    staircase : Staircase
    part : callable
        From a (C,) array of thresholds to the thresholds of the chosen channels.

    Returns
    -------
    Staircase

    Examples
    --------
    >>> from duonet.quant import Binary
    >>> table(Binary([0.0, 0.5]), lambda threshold: threshold[:1])
    Staircase([[0.0]], [0.0, 1.0])
    """
    return Staircase([t if t.ndim == 0 else part(t) for t in staircase.thresholds], staircase.levels)
