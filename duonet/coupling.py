"""Which tensors of a coupled network ternary activations read: those must come doubled, from a batch norm on.

The first half of `decouple`: a walk from the output to the input.
"""

import functools
from typing import NamedTuple, TypeVar

from duonet import nn
from duonet.module import join
from duonet.quant import Ternary

M = TypeVar("M", bound=nn.Module)


class CannotDecouple(ValueError):
    """A model whose decoupled form would not be the same function; says which layer and why."""


class Want(NamedTuple):
    """A ternary activation further on reads this tensor, so it must come doubled.

    Attributes
    ----------
    path : str
        Of the activation.
    shift : bool
        Whether the batch norm that doubles it also has to move the copies apart. In a residual sum only one of the
        two summands does.
    """

    path: str
    shift: bool = True


class Junction(NamedTuple):
    """How the two paths of a `Residual` read its input and meet.

    Attributes
    ----------
    body_doubled, shortcut_doubled : bool
        Whether a ternary activation at the path's start reads the input, so that both copies are needed.
    carried : bool
        Whether an identity shortcut carries both copies on.
    wanted : bool
        Whether the sum must come doubled.
    """

    body_doubled: bool
    shortcut_doubled: bool
    carried: bool
    wanted: bool


def is_ternary(layer: nn.Module) -> bool:
    """Say whether a layer is a ternary activation."""
    return isinstance(layer, nn.QuantActivation) and isinstance(layer.staircase, Ternary)


def kind(layer: nn.Module) -> type:
    """Return the class that defines the layer's `forward`; a subclass that overrides it is another kind."""
    if "forward" in vars(layer):
        return object
    return next(cls for cls in type(layer).__mro__ if "forward" in vars(cls) or "__call__" in vars(cls))


def refuse_ties(model: nn.Module) -> None:
    """Refuse a tensor that two layers share: decoupling may double it in one place and not in the other."""
    seen: dict[int, str] = {}
    for path, tensor in model._tensors(every_path=True):
        if seen.setdefault(id(tensor), path) != path:
            raise CannotDecouple(
                f"decouple: {path} and {seen[id(tensor)]} are one tensor, which the decoupled form would part"
            )


def as_sequential(layer: nn.Module) -> nn.Module:
    """Return the layer, wrapped in a Sequential unless it is one."""
    return layer if kind(layer) is nn.Sequential else in_mode_of(layer, nn.Sequential(layer))


def in_mode_of(layer: nn.Module, new: M) -> M:
    """Give a new layer the mode of the old one, and return it."""
    new.training = layer.training
    return new


def needs_norm(want: Want, found: str) -> CannotDecouple:
    """Say that no batch norm doubles what a ternary activation reads."""
    return CannotDecouple(
        f"decouple: {want.path}: a ternary activation needs a batch norm before it, whose two copies are then "
        f"trained apart; found {found}"
    )


def found_in(model: nn.Module) -> tuple[nn.Module, dict[str, Want | Junction]]:
    """Return the model as a Sequential and what `wanted` finds in it; refuse what nothing can double."""
    refuse_ties(model)
    chain = as_sequential(model)
    if not any(is_ternary(layer) for _, layer in chain.modules()):
        raise CannotDecouple("decouple: the model has no ternary activation; there is nothing to decouple")
    want, found = wanted(chain, "", None)
    if want is not None:
        raise needs_norm(want, "nothing")
    return chain, found


def wanted(layer: nn.Module, path: str, want: Want | None) -> tuple[Want | None, dict[str, Want | Junction]]:
    """Return the `Want` of a layer's input, given that of its output; None where there is none.

    Beside it comes a dict: from the path of each batch norm whose output must be doubled to its `Want`, and from
    the path of each `Residual` to its `Junction`.
    """
    return _want_of.registry.get(kind(layer), _want_of.registry[object])(layer, path, want)


@functools.singledispatch
def _want_of(layer, path, want):
    if any(is_ternary(m) for _, m in layer.modules()):
        raise CannotDecouple(
            f"decouple: {path} {type(layer).__name__}: cannot be decoupled exactly: only Sequential "
            "and Residual may hold a ternary activation"
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
def _(layer: nn.QuantActivation, path, want):
    if want is not None:
        raise needs_norm(want, type(layer).__name__)
    if not is_ternary(layer):
        return None, {}
    staircase = layer.staircase
    table = [t.tolist() for t in staircase.thresholds], staircase.levels
    if not staircase.tabular or table != ([0.25, 0.75], (0, 0.5, 1)):
        raise CannotDecouple(f"decouple: {path}: its staircase {staircase!r} is not the function of Ternary()")
    return Want(path), {}


@_want_of.register
def _(layer: nn.BatchNorm, path, want):
    return None, {} if want is None else {path: want}


@_want_of.register
def _(layer: nn.Residual, path, want):
    body, shortcut = paths_of(layer)
    own = None if want is None else Want(*want)
    at_body, found = wanted(body, join(path, "body"), own)
    at_shortcut, below = (None, {}) if shortcut is None else wanted(shortcut, join(path, "shortcut"), None)
    if own is not None and at_body is own:
        raise needs_norm(want, f"none in the body of the residual sum {path}")
    carried = shortcut is None and own is not None and want.shift and at_body is not None
    if carried:  # the input brings the shift along: a second pass, now without one at the end of the body
        at_body, found = wanted(body, join(path, "body"), Want(want.path, shift=False))
    junction = Junction(at_body is not None, at_shortcut is not None, carried, want is not None)
    read = at_body or at_shortcut
    return None if read is None else Want(read.path), found | below | {path: junction}


def paths_of(layer: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Return body and shortcut of a `Residual`, None for the identity."""
    return as_sequential(layer.body), None if layer.shortcut is None else as_sequential(layer.shortcut)
