"""BinaryDuo's second stage: a coupled network becomes a decoupled (binary) one, the same function.

For every h that feeds a ternary activation, ternary(h) = ½ · 1[h >= ¾] + ½ · 1[h >= ¼]; a staircase of K steps is
lowest + Σ rise_k · 1[h >= t_k]. So the pre-activation is replicated, batch norm is copied, each copy gets a binary
activation, and the next layer's weights are stacked, all of copy 1 before all of copy 2, each times its rise (the
published code of Kim et al., BinaryDuo, ICLR 2020, for two). Quantised weights that cannot be multiplied are
repeated unchanged, and each copy emits its rise.
"""

import copy
import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend, nn, sources
from duonet.coupling import CannotDecouple, Want, coupled, found_in, in_mode_of, kind, paths_of
from duonet.module import join
from duonet.quant import Binary, Shifted, Stretched
from duonet.tape import no_grad

SHIFTS = ("threshold", "beta")


class MustRepeat(ValueError):
    """The weights behind an activation cannot be divided among its copies."""


class Copies(NamedTuple):
    """K copies that replace a tensor, which is Σ shares[k] · copy k.

    Attributes
    ----------
    channels : int
        Channels of one copy.
    shares : tuple of K floats
    moved : (K, 1) or (K, C) array
        The distance by which batch norm has moved each copy down.
    low : float
        Lowest level of each copy.
    """

    channels: int
    shares: tuple[float, ...]
    moved: npt.NDArray[Any]
    low: float = 0.0


class Plan(NamedTuple):
    """The decisions for the whole network: the result of `found_in`, the kind of shift, whether weights divide."""

    found: dict[str, Any]
    shift: str
    divide: bool


def decouple(model: nn.Module, shift: str = "threshold") -> nn.Module:
    """Turn each activation of K steps of a coupled network into K binary ones: two for a ternary one.

    The new network is the same function: the same activations (a ternary one is the mean of its two copies), and
    the same logits up to the order of summation and, where a rise is no power of 2, the rounding of weights. Only
    its gradient differs, and fine-tuning makes the copies differ. The old network stays unchanged.

    If possible, weights are divided: the copies are 0 or 1, and each has the weights times its rise, W/2 behind a
    ternary activation. For quantised weights this needs q([W/2; W/2]) = [q(W); q(W)]/2. If the equation fails in
    one layer, or a lowest level is not 0, weights are repeated in all layers: the copies are 0 or their rise, the
    levels of their `Binary`, and q([W; W]) = [q(W); q(W)] is enough.

    Parameters
    ----------
    model : Module
        Sequentials and Residuals, at any depth, of conv, linear, batch norm, pooling, flatten, dropout and
        activations, with a batch norm before every coupled activation, or at the end of every path of a residual
        sum before it, and a conv or linear layer after it. An identity shortcut between coupled activations
        carries all copies; any other shortcut reads their mean, and its output is replicated. A coupled activation
        has more than one step and a `fixed` form: a learned range is fixed at its present value, and the batch
        norm of each copy can learn in its place.
    shift : {"threshold", "beta"}
        Copy 1 fires at the highest threshold (ternary: h >= ¾), copy 2 at the next (h >= ¼). "threshold" keeps
        these thresholds, and is exact in every precision except for the rounding of a learned range. "beta" is the
        authors' form: all copies fire at the mean of the thresholds, ½, and batch norm's beta moves by ∓¼. In
        float32, beta − ¼ rounds, and a value within an ulp of a threshold can flip.

    Returns
    -------
    Module
        The network with `Replicate` layers before the copied batch norms. Each layer keeps its mode, and each
        parameter its dtype and its `requires_grad`. Dropout between activation and conv draws for each copy alone.

    Raises
    ------
    CannotDecouple
        If the result would not be the same function, or not binary: a stochastic activation, a basis that follows
        the batch in training mode, a lowest level other than 0 before zero padding. The message names the layer's
        path and the reason.
    ValueError
        If `shift` is neither "threshold" nor "beta".

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
    arguments.one_of("decouple", "shift", shift, SHIFTS)
    chain, found = found_in(model)
    try:
        decoupled, copies = _rebuild(copy.deepcopy(chain), "", None, Plan(found, shift, divide=True))
    except MustRepeat:
        decoupled, copies = _rebuild(copy.deepcopy(chain), "", None, Plan(found, shift, divide=False))
    if copies is not None:
        raise CannotDecouple(f"decouple: {_last(chain)}: the network ends in a coupled activation")
    decoupled.zero_grad()  # copied layers still hold gradients of the old network, in its shapes
    return decoupled


def _last(chain):
    return [path for path, layer in chain.modules() if not list(layer.children())][-1]


# From the input to the output, in a copy of the network: the decoupled form of each layer. `copies` describes the
# copies of the layer's input; None stands for an unchanged input.


def _rebuild(layer, path, copies, plan):
    """Return the layer's decoupled form, and the copies of its output."""
    try:
        return _decoupled.registry.get(kind(layer), _decoupled.registry[object])(layer, path, copies, plan)
    except (CannotDecouple, MustRepeat):
        raise
    except ValueError as error:
        raise CannotDecouple(f"decouple: {path} {type(layer).__name__}: {error}") from error


@functools.singledispatch
def _decoupled(layer, path, copies, plan):
    activation = coupled(layer, path)
    if activation is not None:
        return _split(activation, copies, plan, layer)
    if copies is not None and not layer.known("copywise"):
        raise ValueError("cannot be decoupled exactly: only conv and linear layers may read a coupled activation")
    return layer, copies


def _split(activation, copies, plan, layer):
    """Return the binary activation of all copies, the highest step first."""
    many, channels = len(copies.shares), copies.channels
    activation.surrogate.derivative(np.zeros((1, many * channels)))  # fails if it has a slope for each channel
    thresholds = np.stack([np.broadcast_to(t, channels) for t in activation.staircase.thresholds[::-1]])
    levels = activation.staircase.levels
    rises, span = np.diff(levels)[::-1], levels[-1] - levels[0]
    away = thresholds - thresholds.mean(axis=0) - copies.moved
    surrogate = Shifted(activation.surrogate, away.ravel()) if away.any() else activation.surrogate
    if plan.divide and levels[0] != 0:
        raise MustRepeat
    low, rise = levels[0] / many, 1.0 if plan.divide else _each(rises, channels)
    if np.any(rise != span):
        surrogate = Stretched(surrogate, height=rise / span)
    binary = Binary(_each(thresholds - copies.moved, channels), low, low + rise)
    shares = tuple(rises.tolist()) if plan.divide else (1.0,) * many
    new = in_mode_of(layer, nn.QuantActivation(binary, surrogate))
    return new, copies._replace(shares=shares, low=low)


def _each(numbers, channels):
    """Return one number per channel from numbers per copy or channel; one for all if only rounding differs."""
    numbers = np.repeat(numbers, channels) if numbers.ndim == 1 else numbers.ravel()
    return float(numbers[0]) if np.ptp(numbers) <= 4 * np.finfo(float).eps * abs(numbers[0]) else numbers


@_decoupled.register
def _(layer: nn.Sequential, path, copies, plan):
    children = {}
    for name, child in layer.children():
        inner = join(path, name)
        if isinstance(want := plan.found.get(inner), Want):
            children[f"{name}_replicate"] = nn.Replicate(len(want.offsets))
        children[name], copies = _rebuild(child, inner, copies, plan)
    return in_mode_of(layer, nn.Sequential(children)), copies


@_decoupled.register
def _(layer: nn.BatchNorm, path, copies, plan):
    if copies is not None:
        raise ValueError("reads a coupled activation; only conv and linear layers may")
    if path not in plan.found:
        return layer, None
    xp, channels, moved = backend.get_xp(layer.beta.data), layer.gamma.size, plan.found[path].offsets
    if plan.shift == "threshold":
        moved = 0 * moved
    for tensor in (layer.gamma, layer.beta, layer.running_mean, layer.running_var):
        tensor.data = xp.tile(tensor.data, len(moved))
    layer.beta.data -= xp.asarray(np.broadcast_to(moved, (len(moved), channels)).ravel(), layer.beta.dtype)
    return layer, Copies(channels, (1 / len(moved),) * len(moved), moved)


@_decoupled.register
def _(layer: nn.Residual, path, copies, plan):
    body, shortcut = paths_of(layer)
    junction = plan.found[path]
    reading = junction.body_doubled or junction.shortcut_doubled  # the input is doubled, but not yet quantised

    def rebuilt(chain, name, doubled):
        """Rebuild one path; a path that does not need each copy reads the tensor that the copies replace."""
        average = copies is not None and not doubled
        new, left = _rebuild(chain, join(path, name), None if average else copies, plan)
        if average:
            new = nn.Sequential({"average": nn.AverageCopies(copies.shares)} | dict(new.children()))
        return new, left

    if not junction.carried:
        chain = nn.Sequential() if shortcut is None else shortcut
        shortcut, left = rebuilt(chain, "shortcut", junction.shortcut_doubled)
        if left is not None:
            raise ValueError("its shortcut ends in a coupled activation; only conv and linear layers may read one")
        if junction.wanted:
            shortcut = nn.Sequential(dict(shortcut.children()) | {"replicate": nn.Replicate(junction.wanted)})
    # A body that starts with a conv may read a quantised input's copies by stacking the conv's weights.
    body, left = rebuilt(body, "body", junction.body_doubled or not reading)
    if (left is not None) != bool(junction.wanted):
        raise ValueError("its body ends in a coupled activation; only conv and linear layers may read one")
    if junction.carried:
        left = left._replace(moved=left.moved + copies.moved)
    return in_mode_of(layer, nn.Residual(body, shortcut if shortcut is not None and len(shortcut) else None)), left


@_decoupled.register(nn.Conv2d)
@_decoupled.register(nn.Linear)
def _(layer, path, copies, plan):
    if copies is None:
        return layer, None
    if copies.low and getattr(layer, "padding", 0):
        raise ValueError(
            f"pads with 0, beside copies of the lowest level {copies.low:g}: they would not be binary; the lowest "
            "level of the activation before it must be 0"
        )
    expected, latent = _stacked(_used(layer), copies), sources.rows(layer)
    latent.data = _stacked(latent.data, copies)
    _check_weight(layer, _used(layer), expected, plan)
    return layer, None


def _used(layer):
    """Return the weight in use, in evaluation mode."""
    with no_grad():
        return copy.deepcopy(layer).eval().used_weight().data  # a copy, so that a quantiser's state stays


def _stacked(weight, copies):
    """Stack weights (..., IN, OUT) for all copies, each times its share."""
    *window, inputs, outputs = weight.shape
    # After a flatten, a linear layer's inputs are (pixels, channels), and the copies are copies of the channels.
    weight = weight.reshape(*window, -1, copies.channels, outputs)
    stacked = backend.get_xp(weight).concatenate([weight * share for share in copies.shares], axis=-2)
    return stacked.reshape(*window, len(copies.shares) * inputs, outputs)


def _check_weight(layer, got, expected, plan):
    """Refuse unless q([s W; s' W; ...]) = [s q(W); s' q(W); ...], by the tag and for the layer's old weights W."""
    xp, quantizer = backend.get_xp(got), layer.weight_quantizer
    rounding = 64 * np.finfo(got.dtype).eps  # the scale may be summed in another order
    alike = got.shape == expected.shape and xp.allclose(got, expected, rtol=rounding, atol=0, equal_nan=True)
    if plan.divide and not (alike and (quantizer is None or quantizer.known("homogeneous"))):
        raise MustRepeat
    if not alike:
        whose = "quantiser" if layer.weight_source is None else "source"
        raise ValueError(
            f"cannot be decoupled exactly: its weight {whose} q depends on the number or place of equal weights, "
            "q([W; W]) is not [q(W); q(W)]"
        )
