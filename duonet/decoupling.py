"""BinaryDuo's second stage: a coupled (ternary) network becomes a decoupled (binary) one, the same function.

For every h that feeds a ternary activation, ternary(h) = ½ · 1[h >= ¾] + ½ · 1[h >= ¼]. So the pre-activation is
replicated, batch norm copied, each copy given a binary activation, and the next layer's weights are halved and
stacked, all of copy 1 before all of copy 2 (the published code of Kim et al., BinaryDuo, ICLR 2020).
"""

import copy
import functools

import numpy as np

from duonet import backend, nn, sources
from duonet.coupling import CannotDecouple, Want, found_in, in_mode_of, is_ternary, kind, paths_of
from duonet.module import join
from duonet.quant import Binary, Shifted
from duonet.tape import no_grad

SHIFT = 0.25  # the two binary copies fire this far above and below the middle of the ternary staircase
SHIFTS = ("threshold", "beta")


def decouple(model: nn.Module, shift: str = "threshold") -> nn.Module:
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
        With `Replicate` layers before the doubled batch norms. Each layer keeps its mode and each parameter its
        dtype and whether it is frozen. Dropout between activation and conv draws for each copy by itself.

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
    chain, found = found_in(model)
    decoupled, channels = _rebuild(copy.deepcopy(chain), "", None, found, shift)
    if channels is not None:
        raise CannotDecouple(f"decouple: {_last(chain)}: the network ends in a ternary activation")
    decoupled.zero_grad()  # copied layers bring gradients of the old network, in its shapes
    return decoupled


def _last(chain):
    return [path for path, layer in chain.modules() if not list(layer.children())][-1]


# From the input to the output, in a copy of the network: what does each layer become? `channels` counts the
# channels of one copy where the layer's input comes doubled; elsewhere it is None.


def _rebuild(layer, path, channels, found, shift):
    """Return the layer's decoupled form, and the channels of one copy of its output."""
    try:
        return _decoupled.registry.get(kind(layer), _decoupled.registry[object])(
            layer, path, channels, found, shift
        )
    except CannotDecouple:
        raise
    except ValueError as error:
        raise CannotDecouple(f"decouple: {path} {type(layer).__name__}: {error}") from error


@functools.singledispatch
def _decoupled(layer, path, channels, found, shift):
    if channels is not None and not layer.known("copywise"):
        raise ValueError("cannot be decoupled exactly: only conv and linear layers may read a ternary activation")
    return layer, channels


@_decoupled.register
def _(layer: nn.Sequential, path, channels, found, shift):
    children = {}
    for name, child in layer.children():
        inner = join(path, name)
        if isinstance(found.get(inner), Want):
            children[f"{name}_replicate"] = nn.Replicate()
        children[name], channels = _rebuild(child, inner, channels, found, shift)
    return in_mode_of(layer, nn.Sequential(children)), channels


@_decoupled.register
def _(layer: nn.BatchNorm, path, channels, found, shift):
    if channels is not None:
        raise ValueError("reads a ternary activation; only conv and linear layers may")
    if path not in found:
        return layer, None
    channels = layer.gamma.size
    for tensor in (layer.gamma, layer.beta, layer.running_mean, layer.running_var):
        tensor.data = _twice(tensor.data)
    if shift == "beta" and found[path].shift:
        layer.beta.data[:channels] -= SHIFT
        layer.beta.data[channels:] += SHIFT
    return layer, channels


@_decoupled.register
def _(layer: nn.QuantActivation, path, channels, found, shift):
    if not is_ternary(layer):
        if channels is not None:
            raise ValueError("reads a doubled tensor, but is not ternary")
        return layer, None
    surrogate = layer.surrogate
    surrogate.derivative(np.zeros((1, 2 * channels)))  # fails where it has one slope for each old channel
    if shift == "beta":
        return in_mode_of(layer, nn.QuantActivation(Binary(), surrogate)), channels
    offset = np.repeat([SHIFT, -SHIFT], channels)
    return in_mode_of(layer, nn.QuantActivation(Binary(0.5 + offset), Shifted(surrogate, offset))), channels


@_decoupled.register
def _(layer: nn.Residual, path, channels, found, shift):
    body, shortcut = paths_of(layer)
    junction = found[path]
    reading = junction.body_doubled or junction.shortcut_doubled  # the input is doubled, but not yet quantised

    def rebuilt(chain, name, doubled):
        """Rebuild one path; it reads the mean of the copies where it does not need both."""
        average = channels is not None and not doubled
        new, left = _rebuild(chain, join(path, name), None if average else channels, found, shift)
        return nn.Sequential({"average": nn.AverageCopies()} | dict(new.children())) if average else new, left

    if not junction.carried:
        chain = nn.Sequential() if shortcut is None else shortcut
        shortcut, left = rebuilt(chain, "shortcut", junction.shortcut_doubled)
        if left is not None:
            raise ValueError("its shortcut ends in a ternary activation; only conv and linear layers may read one")
        if junction.wanted:
            shortcut = nn.Sequential(dict(shortcut.children()) | {"replicate": nn.Replicate()})
    # A body that starts with a conv may read a quantised input's copies by doubling the conv.
    body, left = rebuilt(body, "body", junction.body_doubled or not reading)
    if (left is not None) != junction.wanted:
        raise ValueError("its body ends in a ternary activation; only conv and linear layers may read one")
    return in_mode_of(layer, nn.Residual(body, shortcut if shortcut is not None and len(shortcut) else None)), left


@_decoupled.register(nn.Conv2d)
@_decoupled.register(nn.Linear)
def _(layer, path, channels, found, shift):
    if channels is not None:
        expected, latent = _doubled(_used(layer) / 2, channels), sources.rows(layer)
        latent.data = _doubled(latent.data / 2, channels)
        _check_weight(layer, _used(layer), expected)
    return layer, None


def _used(layer):
    """Return the weight in use, in evaluation mode."""
    with no_grad():
        return copy.deepcopy(layer).eval().used_weight().data  # a copy, so that a quantiser's state stays


def _doubled(weight, channels):
    """Stack weights (..., IN, OUT) for both copies of `channels` channels."""
    *window, inputs, outputs = weight.shape
    # After a flatten, a linear layer's inputs are (pixels, channels), and it is the channels that double.
    doubled = _twice(weight.reshape(*window, -1, channels, outputs), axis=-2)
    return doubled.reshape(*window, 2 * inputs, outputs)


def _check_weight(layer, got, expected):
    """Refuse unless q([W/2; W/2]) = [q(W); q(W)]/2, by the quantiser's tag and for the layer's old weights W."""
    xp, quantizer = backend.get_xp(got), layer.weight_quantizer
    rounding = 64 * np.finfo(got.dtype).eps  # the scale may be summed in another order
    alike = got.shape == expected.shape and xp.allclose(got, expected, rtol=rounding, atol=0, equal_nan=True)
    if not (alike and (quantizer is None or quantizer.known("homogeneous"))):
        whose = "quantiser" if layer.weight_source is None else "source"
        raise ValueError(
            f"cannot be decoupled exactly: its weight {whose} q is not homogeneous, q([W/2; W/2]) is not "
            "[q(W); q(W)]/2"
        )


def _twice(array, axis=-1):
    return backend.get_xp(array).concatenate([array, array], axis=axis)
