"""BinaryDuo's second stage: a coupled (ternary) network becomes a decoupled (binary) one, the same function.

For every h that feeds a ternary activation, ternary(h) = ½ · 1[h >= ¾] + ½ · 1[h >= ¼]. So the pre-activation is
replicated, batch norm copied, each copy given a binary activation, and the next layer's weights are halved and
stacked, all of copy 1 before all of copy 2 (the published code of Kim et al., BinaryDuo, ICLR 2020).
"""

import copy
import functools
import math

import numpy as np

from duonet import backend, nn
from duonet.quant import Binary, Shifted, Ternary
from duonet.tensor import Parameter

SHIFT = 0.25  # the two binary copies fire this far above and below the middle of the ternary staircase
SHIFTS = ("threshold", "beta")


class CannotDecouple(ValueError):
    """A model whose decoupled form would not be the same function; says which layer and why."""


class _Walk:
    """What the walk along the network knows on reaching a layer.

    Attributes
    ----------
    channels : int or None
        Channels of one copy where the layer's input has been doubled, None where it has not.
    feeds_ternary : set of int
        Ids of the batch norms whose output reaches a ternary activation.
    shift : str
        Where the ±¼ goes: "threshold" or "beta".
    """

    def __init__(self, feeds_ternary, shift):
        self.channels = None
        self.feeds_ternary = feeds_ternary
        self.shift = shift


def decouple(model, shift="threshold"):
    """Turn each ternary activation of a coupled network into two binary ones.

    The new network is the same function: the same activations (a ternary one is the mean of its two copies),
    and the same logits up to the order of summation. Only its gradient differs, and fine-tuning makes the copies
    differ. The old network is left alone.

    Parameters
    ----------
    model : Module
        Sequentials, at any depth, of conv, linear, batch norm, pooling, flatten, dropout and activations, with a
        batch norm before every ternary activation and a conv or linear layer after it.
    shift : {"threshold", "beta"}
        Copy 1 fires at h >= ¾ and copy 2 at h >= ¼. "threshold" writes just that, and is exact in every precision.
        "beta" is the authors' form, threshold ½ with batch norm's beta moved by ∓¼: in float32 beta − ¼ rounds,
        and a value within an ulp of a threshold can flip.

    Returns
    -------
    Module
        With `Replicate` layers before the doubled batch norms.

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
    leaves = [(path, m) for path, m in model.modules() if not isinstance(m, nn.Sequential)]
    walk = _Walk(_norms_before_ternary(leaves), shift)
    decoupled = _rebuild(model, "", walk)
    if walk.channels is not None:
        raise CannotDecouple(f"decouple: {leaves[-1][0]}: the network ends in a ternary activation")
    return decoupled


def coupled_widths(widths, count, budget):
    """Narrow a network so that, once decoupled, it stays within the baseline's parameters.

    Decoupling doubles the inputs of each coupled layer, so every width is divided by √2 and rounded down. The
    last one then shrinks or grows to fill the budget; where it reaches its old width first, the one before it
    grows as well, and so on. For VGG-7 this gives the widths of the published code, 45, 45, 90, 90, 336.

    Parameters
    ----------
    widths : sequence of int
        Baseline widths of the layers with quantised activations.
    count : callable
        From a tuple of coupled widths to the parameters of the decoupled network.
    budget : int
        Parameters of the baseline.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If the narrowed widths exceed the budget, however small the last one.

    Examples
    --------
    >>> def count(c):  # 100 inputs, two layers, 10 classes; the second and third weights have doubled inputs
    ...     return 100 * c[0] + 2 * c[0] * c[1] + 2 * c[1] * 10
    >>> coupled_widths((64, 64), count, budget=100 * 64 + 64 * 64 + 64 * 10)
    (45, 60)
    """
    narrow = [max(1, math.floor(width / math.sqrt(2))) for width in widths]
    while count(tuple(narrow)) > budget and narrow[-1] > 1:
        narrow[-1] -= 1
    if count(tuple(narrow)) > budget:
        raise ValueError(f"coupled_widths: widths {tuple(narrow)} exceed the budget of {budget} parameters")
    for i in reversed(range(len(widths))):
        while narrow[i] < widths[i] and count((*narrow[:i], narrow[i] + 1, *narrow[i + 1 :])) <= budget:
            narrow[i] += 1
        if narrow[i] < widths[i]:
            break
    return tuple(narrow)


def _is_ternary(layer):
    return isinstance(layer, nn.QuantActivation) and isinstance(layer.staircase, Ternary)


def _norms_before_ternary(leaves):
    """Find, for each ternary activation, the batch norm it reads; only pooling may lie between."""
    norms = set()
    for i, (path, layer) in enumerate(leaves):
        if not _is_ternary(layer):
            continue
        before = next(
            (m for _, m in reversed(leaves[:i]) if not isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))), None
        )
        if not isinstance(before, nn.BatchNorm):
            found = "nothing" if before is None else type(before).__name__
            raise CannotDecouple(
                f"decouple: {path}: a ternary activation needs a batch norm before it, whose two copies are "
                f"then trained apart; found {found}"
            )
        norms.add(id(before))
    if not norms:
        raise CannotDecouple("decouple: the model has no ternary activation; there is nothing to decouple")
    return norms


def _rebuild(layer, path, walk):
    """Return the layer's decoupled form, a new module, or a list of modules that stand in its place."""
    try:
        return _decoupled(layer, path, walk)
    except CannotDecouple:
        raise
    except ValueError as error:
        raise CannotDecouple(f"decouple: {path} {type(layer).__name__}: {error}") from error


@functools.singledispatch
def _decoupled(layer, path, walk):
    if walk.channels is not None or any(id(m) in walk.feeds_ternary for _, m in layer.modules()):
        raise ValueError("cannot be decoupled exactly: only conv and linear layers may read a ternary activation")
    return copy.deepcopy(layer)


@_decoupled.register
def _(layer: nn.Sequential, path, walk):
    children = {}
    for name, child in layer.children():
        doubling = isinstance(child, nn.BatchNorm) and id(child) in walk.feeds_ternary
        if doubling:
            children[f"{name}_replicate"] = nn.Replicate()
        children[name] = _rebuild(child, f"{path}.{name}" if path else name, walk)
    return nn.Sequential(children).train(layer.training)


@_decoupled.register
def _(layer: nn.BatchNorm, path, walk):
    if walk.channels is not None:
        raise ValueError("reads a ternary activation; only conv and linear layers may")
    new = copy.deepcopy(layer)
    if id(layer) not in walk.feeds_ternary:
        return new
    for tensor in (new.gamma, new.beta, new.running_mean, new.running_var):
        tensor.data = _twice(tensor.data)
    walk.channels = layer.gamma.size
    if walk.shift == "beta":
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


@_decoupled.register(nn.MaxPool2d)
@_decoupled.register(nn.AvgPool2d)
@_decoupled.register(nn.GlobalAvgPool)
@_decoupled.register(nn.Flatten)
@_decoupled.register(nn.Dropout)
def _(layer, path, walk):
    return copy.deepcopy(layer)  # works on each channel by itself, however many there are


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
