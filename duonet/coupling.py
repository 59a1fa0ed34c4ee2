"""Find the tensors of a coupled network that activations of several steps read: these must come in copies.

The first half of `decouple`: a walk from the output to the input.
"""

import functools
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from duonet import arguments, nn
from duonet.module import join
from duonet.quant import Quantizer

M = TypeVar("M", bound=nn.Module)


class CannotDecouple(ValueError):
    """A model whose decoupled form would not be the same function; the message names the layer and the reason."""


class Want(NamedTuple):
    """A later activation of several steps reads this tensor, so the tensor must come in as many copies.

    Attributes
    ----------
    path : str
        The activation's path.
    offsets : (K, 1) or (K, C) array
        The height of each copy's step above the mean step, highest first. The batch norm that makes the copies
        may shift each by its offset; offsets are 0 if the other summand of a residual sum shifts the copies.
    """

    path: str
    offsets: npt.NDArray[np.float64]


class Junction(NamedTuple):
    """The ways in which the two paths of a `Residual` read its input and meet.

    Attributes
    ----------
    body_doubled, shortcut_doubled : bool
        Whether a coupled activation at the path's start reads the input, so that its copies are needed.
    carried : bool
        Whether an identity shortcut carries the copies on.
    wanted : int
        The number of copies in which the sum must come; 0 for the sum itself, without copies.
    """

    body_doubled: bool
    shortcut_doubled: bool
    carried: bool
    wanted: int


def coupled(layer: nn.Module, path: str) -> nn.QuantActivation | None:
    """Return a layer's activation if it has two or more steps; None for any other layer.

    Parameters
    ----------
    layer : Module
    path : str
        The layer's path, for messages.

    Returns
    -------
    QuantActivation or None
        The `fixed` form of the layer.

    Raises
    ------
    CannotDecouple
        If the layer is stochastic, its result depends on the batch in training, or its staircase is not a table.

    Examples
    --------
    >>> from duonet.quant import Binary, Clip, Ternary
    >>> coupled(nn.QuantActivation(Ternary(), Clip(0, 1)), "act")
    QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))
    >>> coupled(nn.QuantActivation(Binary(), Clip(0, 1)), "act")
    """
    if not isinstance(layer, Quantizer) or layer.known("copywise"):
        return None
    try:
        if not layer.known("deterministic"):
            raise ValueError("cannot be decoupled exactly: it is stochastic")
        if layer.training and layer.known("in_training"):
            raise ValueError(f"{layer.known('in_training')}; call model.eval() first")
        activation = fixed() if (fixed := layer.known("fixed")) else None
        if activation is None or len(activation.staircase.levels) == 2:
            return None
        if not activation.staircase.tabular:
            raise ValueError(f"its staircase {activation.staircase!r} computes something of its own")
        return activation
    except ValueError as error:
        raise CannotDecouple(f"decouple: {path} {type(layer).__name__}: {error}") from error


def any_coupled(layer: nn.Module, path: str) -> bool:
    """Return whether a layer holds a coupled activation; quantisers of weights do not count."""
    modules = list(layer.modules())
    of_weights = [getattr(module, "weight_quantizer", None) for _, module in modules]
    return any(coupled(m, join(path, name).strip(".")) for name, m in modules if m not in of_weights)


def kind(layer: nn.Module) -> type:
    """Return the class that defines the layer's `forward`; a subclass that overrides `forward` is another kind.

    Parameters
    ----------
    layer : Module

    Returns
    -------
    type
        `object` if this layer alone has another `forward`.

    Examples
    --------
    >>> class Named(nn.ReLU):
    ...     pass
    >>> kind(Named()) is nn.ReLU
    True
    """
    if "forward" in vars(layer):
        return object
    return next(cls for cls in type(layer).__mro__ if "forward" in vars(cls) or "__call__" in vars(cls))


def refuse_ties(model: nn.Module) -> None:
    """Raise CannotDecouple if two layers share a tensor, which might be doubled in one of them alone."""
    seen: dict[int, str] = {}
    for path, tensor in model._tensors(every_path=True):
        if seen.setdefault(id(tensor), path) != path:
            raise CannotDecouple(
                f"decouple: {path} and {seen[id(tensor)]} are one tensor, and the decoupled form needs two"
            )


def as_sequential(layer: nn.Module) -> nn.Module:
    """Return the layer, in a Sequential unless it is a Sequential."""
    return layer if kind(layer) is nn.Sequential else in_mode_of(layer, nn.Sequential(layer))


def in_mode_of(layer: nn.Module, new: M) -> M:
    """Give a new layer the mode of the old one, and return it."""
    new.training = layer.training
    return new


def needs_norm(want: Want, found: str) -> CannotDecouple:
    """Return the error for an activation whose copies no batch norm can make."""
    return CannotDecouple(
        f"decouple: {want.path}: a coupled activation needs a batch norm before it, whose copies are then "
        f"trained apart; found {found}"
    )


def found_in(model: nn.Module) -> tuple[nn.Module, dict[str, Want | Junction]]:
    """Return the model as a Sequential, and the result of `wanted`; refuse a model that cannot be doubled.

    Parameters
    ----------
    model : Module

    Returns
    -------
    Module
    dict
        The second result of `wanted`.

    Raises
    ------
    CannotDecouple
        If the model has no coupled activation, or a layer cannot be decoupled exactly.

    Examples
    --------
    >>> from duonet.models import mlp
    >>> _, found = found_in(mlp("ternary", inputs=4, widths=(3,), classes=2, rng=np.random.default_rng(0)).eval())
    >>> {path: want.offsets.ravel().tolist() for path, want in found.items()}
    {'norm1': [0.25, -0.25]}
    """
    refuse_ties(arguments.instance("decouple", "model", model, nn.Module))
    chain = as_sequential(model)
    if not any_coupled(chain, ""):
        raise CannotDecouple(
            "decouple: no activation of the model says that it is a staircase of several steps; there is nothing "
            "to decouple"
        )
    want, found = wanted(chain, "", None)
    if want is not None:
        raise needs_norm(want, "nothing")
    return chain, found


def wanted(layer: nn.Module, path: str, want: Want | None) -> tuple[Want | None, dict[str, Want | Junction]]:
    """Return the `Want` of a layer's input from the `Want` of its output.

    Parameters
    ----------
    layer : Module
    path : str
        The layer's path.
    want : Want or None
        None if the output need not come in copies.

    Returns
    -------
    Want or None
    dict
        From the path of each batch norm whose output must be doubled to its `Want`, and from the path of each
        `Residual` to its `Junction`.

    Raises
    ------
    CannotDecouple
        If the layer, or a layer in it, cannot be decoupled exactly.
    """
    return _want_of.registry.get(kind(layer), _want_of.registry[object])(layer, path, want)


@functools.singledispatch
def _want_of(layer, path, want):
    activation = coupled(layer, path)
    if want is None and activation is not None:
        thresholds = np.stack(np.broadcast_arrays(*activation.staircase.thresholds[::-1]))
        steps = thresholds.reshape(len(thresholds), -1)
        return Want(path, steps - steps.mean(axis=0)), {}
    if activation is None and any_coupled(layer, path):
        raise CannotDecouple(
            f"decouple: {path} {type(layer).__name__}: cannot be decoupled exactly: only Sequential "
            "and Residual may hold a coupled activation"
        )
    if want is not None and not layer.known("translates"):
        raise needs_norm(want, type(layer).__name__)
    return want, {}


@_want_of.register
def _(layer: nn.Sequential, path, want):
    found: dict[str, Want | Junction] = {}
    for name, child in reversed(list(layer.children())):
        want, below = wanted(child, join(path, name), want)
        found |= below
    return want, found


@_want_of.register
def _(layer: nn.BatchNorm, path, want):
    return None, {} if want is None else {path: want}


@_want_of.register
def _(layer: nn.Residual, path, want):
    body, shortcut = paths_of(layer)
    own = None if want is None else Want(*want)  # new: `at_body is own` shows a body without norm
    at_body, found = wanted(body, join(path, "body"), own)
    at_shortcut, below = (None, {}) if shortcut is None else wanted(shortcut, join(path, "shortcut"), None)
    if own is not None and at_body is own:
        raise needs_norm(want, f"none in the body of the residual sum {path}")
    many = [0 if read is None else len(read.offsets) for read in (own, at_body, at_shortcut)]
    carried = shortcut is None and many[0] == many[1] and own is not None and bool(own.offsets.any())
    if carried:  # the input has the offsets already: a second pass, without offsets at the end of the body
        at_body, found = wanted(body, join(path, "body"), Want(want.path, 0 * want.offsets))
    if at_body and at_shortcut and many[1] != many[2]:
        raise CannotDecouple(
            f"decouple: {at_body.path} and {at_shortcut.path} read one tensor, in {many[1]} and {many[2]} copies"
        )
    junction = Junction(many[1] > 0, many[2] > 0, carried, many[0])
    return at_body or at_shortcut, found | below | {path: junction}


def paths_of(layer: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Return body and shortcut of a `Residual`, None for the identity."""
    return as_sequential(layer.body), None if layer.shortcut is None else as_sequential(layer.shortcut)
