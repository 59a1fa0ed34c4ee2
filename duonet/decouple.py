"""BinaryDuo's second stage: a coupled (ternary) network becomes a decoupled (binary) one, the same function.

For every h that feeds a ternary activation, ternary(h) = ½ · 1[h >= ¾] + ½ · 1[h >= ¼]. So the pre-activation is
replicated, batch norm copied, each copy given a binary activation, and the next layer's weights are halved and
stacked, all of copy 1 before all of copy 2 (the published code of Kim et al., BinaryDuo, ICLR 2020).
"""

import copy
import functools
from typing import NamedTuple

import numpy as np

from duonet import backend, nn
from duonet.quant import Binary, Shifted, Ternary
from duonet.tensor import Parameter

SHIFT = 0.25  # the two binary copies fire this far above and below the middle of the ternary staircase
SHIFTS = ("threshold", "beta")


class CannotDecouple(ValueError):
    """A model whose decoupled form would not be the same function; says which layer and why."""


class _Want:
    """A ternary activation further on reads this tensor, so it must come doubled.

    Attributes
    ----------
    path : str
        Of the activation.
    shift : bool
        Whether the batch norm that doubles it also has to move the copies apart. In a residual sum only one of the
        two summands does.
    """

    def __init__(self, path, shift=True):
        self.path, self.shift = path, shift


class _Walk:
    """What is known on reaching a layer.

    Attributes
    ----------
    shift : str
        Where the ±¼ goes: "threshold" or "beta".
    norms : dict
        From the path of a batch norm whose output must be doubled to the `_Want`.
    junctions : dict
        From the path of a `Residual` to its `_Junction`.
    channels : int or None
        Channels of one copy where the layer's input has been doubled, None where it has not.
    memo : dict
        Of `copy.deepcopy`, for generators that several layers share.
    """

    def __init__(self, shift):
        self.shift = shift
        self.norms, self.junctions, self.memo = {}, {}, {}
        self.channels = None


class _Junction(NamedTuple):
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


def decouple(model, shift="threshold"):
    """Turn each ternary activation of a coupled network into two binary ones.

    The new network is the same function: the same activations (a ternary one is the mean of its two copies),
    and the same logits up to the order of summation. Only its gradient differs, and fine-tuning makes the copies
    differ. The old network is left alone.

    Parameters
    ----------
    model : Module
        Sequentials and Residuals, at any depth, of conv, linear, batch norm, pooling, flatten, dropout and
        activations, with a batch norm before every ternary activation, or at the end of every path of a residual
        sum before it, and a conv or linear layer after it. An identity shortcut between ternary activations
        carries both copies; any other shortcut reads their mean, and its output is replicated.
    shift : {"threshold", "beta"}
        Copy 1 fires at h >= ¾ and copy 2 at h >= ¼. "threshold" writes just that, and is exact in every precision.
        "beta" is the authors' form, threshold ½ with batch norm's beta moved by ∓¼: in float32 beta − ¼ rounds,
        and a value within an ulp of a threshold can flip.

    Returns
    -------
    Module
        With `Replicate` layers before the doubled batch norms. Dropout between activation and conv draws for each
        copy by itself.

    Raises
    ------
    CannotDecouple
        If the result would not be the same function; names the layer's path and the reason.
    ValueError
        If `shift` is neither of the two.

    Examples
    --------
    >>> from duonet.models import mlp
    >>> coupled = mlp("coupled", inputs=8, widths=(16, 16), classes=3, rng=np.random.default_rng(0)).eval()
    >>> binary = decouple(coupled)
    >>> from duonet import Tensor
    >>> x = Tensor(np.random.default_rng(1).standard_normal((5, 8), dtype="float32"))
    >>> bool(np.allclose(coupled(x).data, binary(x).data, atol=1e-6))
    True
    """
    if shift not in SHIFTS:
        raise ValueError(f"decouple: shift must be 'threshold' or 'beta', got {shift!r}")
    walk = _Walk(shift)
    chain = _as_sequential(model)
    if not any(_is_ternary(layer) for _, layer in chain.modules()):
        raise CannotDecouple("decouple: the model has no ternary activation; there is nothing to decouple")
    want = _wanted(chain, "", None, walk)
    if want is not None:
        raise _needs_norm(want, "nothing")
    decoupled = _rebuild(chain, "", walk)
    if walk.channels is not None:
        raise CannotDecouple(f"decouple: {_last(chain)}: the network ends in a ternary activation")
    decoupled.zero_grad()  # copied layers bring gradients of the old network, in its shapes
    return decoupled


def _is_ternary(layer):
    return isinstance(layer, nn.QuantActivation) and isinstance(layer.staircase, Ternary)


def _as_sequential(layer):
    return layer if isinstance(layer, nn.Sequential) else nn.Sequential(layer).train(layer.training)


def _join(path, name):
    return f"{path}.{name}" if path else name


def _last(chain):
    return [path for path, layer in chain.modules() if not list(layer.children())][-1]


def _needs_norm(want, found):
    return CannotDecouple(
        f"decouple: {want.path}: a ternary activation needs a batch norm before it, whose two copies are then "
        f"trained apart; found {found}"
    )


# From the output to the input: which tensors do ternary activations read, and which batch norms double them?


@functools.singledispatch
def _wanted(layer, path, want, walk):
    """Return the `_Want` of the layer's input, given that of its output; None where there is none."""
    if any(_is_ternary(m) for _, m in layer.modules()):
        raise CannotDecouple(
            f"decouple: {path} {type(layer).__name__}: cannot be decoupled exactly: only Sequential "
            "and Residual may hold a ternary activation"
        )
    if want is not None:
        raise _needs_norm(want, type(layer).__name__)
    return None


@_wanted.register
def _(layer: nn.Sequential, path, want, walk):
    for name, child in reversed(list(layer.children())):
        want = _wanted(child, _join(path, name), want, walk)
    return want


@_wanted.register
def _(layer: nn.QuantActivation, path, want, walk):
    if want is not None:
        raise _needs_norm(want, type(layer).__name__)
    return _Want(path) if _is_ternary(layer) else None


@_wanted.register(nn.MaxPool2d)
@_wanted.register(nn.AvgPool2d)
def _(layer, path, want, walk):
    return want


@_wanted.register
def _(layer: nn.BatchNorm, path, want, walk):
    if want is not None:
        walk.norms[path] = want
    return None


@_wanted.register
def _(layer: nn.Residual, path, want, walk):
    body, shortcut = _paths(layer)
    own = None if want is None else _Want(want.path, want.shift)
    at_body = _wanted(body, _join(path, "body"), own, walk)
    at_shortcut = None if shortcut is None else _wanted(shortcut, _join(path, "shortcut"), None, walk)
    if own is not None and at_body is own:
        raise _needs_norm(want, f"none in the body of the residual sum {path}")
    carried = shortcut is None and own is not None and want.shift and at_body is not None
    if carried:  # the input brings the shift along: a second pass, now without one at the end of the body
        at_body = _wanted(body, _join(path, "body"), _Want(want.path, shift=False), walk)
    walk.junctions[path] = _Junction(at_body is not None, at_shortcut is not None, carried, want is not None)
    read = at_body or at_shortcut
    return None if read is None else _Want(read.path)


def _paths(layer):
    return _as_sequential(layer.body), None if layer.shortcut is None else _as_sequential(layer.shortcut)


# From the input to the output: what does each layer become?


def _rebuild(layer, path, walk):
    """Return the layer's decoupled form, a new module."""
    try:
        return _decoupled(layer, path, walk)
    except CannotDecouple:
        raise
    except ValueError as error:
        raise CannotDecouple(f"decouple: {path} {type(layer).__name__}: {error}") from error


@functools.singledispatch
def _decoupled(layer, path, walk):
    if walk.channels is not None:
        raise ValueError("cannot be decoupled exactly: only conv and linear layers may read a ternary activation")
    return copy.deepcopy(layer)


@_decoupled.register
def _(layer: nn.Sequential, path, walk):
    children = {}
    for name, child in layer.children():
        inner = _join(path, name)
        if inner in walk.norms:
            children[f"{name}_replicate"] = nn.Replicate()
        children[name] = _rebuild(child, inner, walk)
    return nn.Sequential(children).train(layer.training)


@_decoupled.register
def _(layer: nn.BatchNorm, path, walk):
    if walk.channels is not None:
        raise ValueError("reads a ternary activation; only conv and linear layers may")
    new = copy.deepcopy(layer)
    if path not in walk.norms:
        return new
    for tensor in (new.gamma, new.beta, new.running_mean, new.running_var):
        tensor.data = _twice(tensor.data)
    walk.channels = layer.gamma.size
    if walk.shift == "beta" and walk.norms[path].shift:
        new.beta.data[: walk.channels] -= SHIFT
        new.beta.data[walk.channels :] += SHIFT
    return new


@_decoupled.register
def _(layer: nn.QuantActivation, path, walk):
    if not _is_ternary(layer):
        if walk.channels is not None:
            raise ValueError("reads a doubled tensor, but is not ternary")
        return copy.deepcopy(layer)
    if walk.shift == "beta":
        new = nn.QuantActivation(Binary(), layer.surrogate)
    else:
        offset = np.repeat([SHIFT, -SHIFT], walk.channels)
        new = nn.QuantActivation(Binary(0.5 + offset), Shifted(layer.surrogate, offset))
    return new.train(layer.training)


@_decoupled.register
def _(layer: nn.Residual, path, walk):
    body, shortcut = _paths(layer)
    junction, channels = walk.junctions[path], walk.channels
    reading = junction.body_doubled or junction.shortcut_doubled  # the input is doubled, but not yet quantised

    def rebuilt(chain, name, doubled):
        """Rebuild one path; it reads the mean of the copies where it does not need both."""
        average = channels is not None and not doubled
        walk.channels = None if average else channels
        new = _rebuild(chain, _join(path, name), walk)
        return nn.Sequential({"average": nn.AverageCopies()} | dict(new.children())) if average else new

    if not junction.carried:
        shortcut = rebuilt(
            nn.Sequential() if shortcut is None else shortcut, "shortcut", junction.shortcut_doubled
        )
        if walk.channels is not None:
            raise ValueError("its shortcut ends in a ternary activation; only conv and linear layers may read one")
        if junction.wanted:
            shortcut = nn.Sequential(dict(shortcut.children()) | {"replicate": nn.Replicate()})
    # A body that starts with a conv may read a quantised input's copies by doubling the conv.
    body = rebuilt(body, "body", junction.body_doubled or not reading)
    if (walk.channels is not None) != junction.wanted:
        raise ValueError("its body ends in a ternary activation; only conv and linear layers may read one")
    return nn.Residual(body, shortcut if shortcut is not None and len(shortcut) else None).train(layer.training)


@_decoupled.register(nn.MaxPool2d)
@_decoupled.register(nn.AvgPool2d)
@_decoupled.register(nn.GlobalAvgPool)
@_decoupled.register(nn.Flatten)
def _(layer, path, walk):
    return copy.deepcopy(layer)  # works on each channel by itself, however many there are


@_decoupled.register
def _(layer: nn.Dropout, path, walk):
    new = copy.copy(layer)
    new.rng = copy.deepcopy(layer.rng, walk.memo)
    return new


@_decoupled.register
def _(layer: nn.Conv2d, path, walk):
    return _with_doubled_inputs(layer, walk)


@_decoupled.register
def _(layer: nn.Linear, path, walk):
    return _with_doubled_inputs(layer, walk)


def _with_doubled_inputs(layer, walk):
    new = copy.deepcopy(layer)
    if walk.channels is not None:
        *window, inputs, outputs = layer.weight.shape
        # After a flatten, a linear layer's inputs are (pixels, channels), and it is the channels that double.
        by_channel = layer.weight.data.reshape(*window, -1, walk.channels, outputs)
        doubled = _twice(by_channel / 2, axis=-2)
        new.weight = Parameter(doubled.reshape(*window, 2 * inputs, outputs))
        walk.channels = None
    return new


def _twice(array, axis=-1):
    return backend.get_xp(array).concatenate([array, array], axis=axis)
