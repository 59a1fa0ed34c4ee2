"""Batch norm and staircase as one op: the same bits, without an array of normalised images."""

import sys

from duonet import arguments, backend, engine
from duonet.coupling import in_mode_of, kind
from duonet.module import join
from duonet.nn import BatchNorm, Module, QuantActivation, Residual, Sequential
from duonet.quant import activation as ops
from duonet.tape import smooth
from duonet.tensor import Tensor

FUSED = {cls: cls.forward for cls in (BatchNorm, QuantActivation)}  # the forwards that one op may replace
NOTHING = (
    "nothing: it takes a BatchNorm followed by a QuantActivation, in Sequentials and Residuals, "
    "and leaves modules that override forward"
)


class BatchNormQuantize(Module):
    """A batch norm and the next staircase, run as one op if this op has a faster twin. `fuse` makes it.

    The two layers run one after the other for an observer, a debugger and `smooth_forward`.

    Parameters
    ----------
    norm : BatchNorm
    activation : QuantActivation
        Both remain layers of the original model, with their parameters, running averages and mode.

    Examples
    --------
    >>> from duonet.quant import Binary, Clip
    >>> norm, cut = BatchNorm(1), QuantActivation(Binary(), Clip(0, 1))
    >>> BatchNormQuantize(norm, cut)(Tensor([[1.0], [3.0]])).data.ravel()
    array([0., 1.], dtype=float32)
    """

    def __init__(self, norm: BatchNorm, activation: QuantActivation):
        super().__init__()
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) or (N, C) to y of the same shape."""
        norm, activation = self.norm, self.activation
        inputs = x, norm.gamma, norm.beta
        options = {"staircase": activation.staircase, "surrogate": activation.surrogate, **norm._options()}
        if norm._observers or activation._observers or smooth() or _debugged() or not _has_twin(inputs, options):
            return activation(norm(x))
        return ops.BatchNormQuantize.apply(*inputs, **options)


def _debugged():
    """Return whether a debugger may wait in one of the two layers."""
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12 and later
    return sys.gettrace() is not None or bool(monitoring and monitoring.get_tool(monitoring.DEBUGGER_ID))


def _has_twin(inputs, options):
    if not all(isinstance(tensor, Tensor) for tensor in inputs):
        return False
    op, arrays = ops.BatchNormQuantize, [tensor.data for tensor in inputs]
    return engine.version(op, backend.device_of(arrays[0]), *arrays, **options) is not op


def fuse(model: Module) -> Module:
    """Return the model with each batch norm and the next staircase as one op; print their names.

    Both models share their layers: training one trains the other. Use the original for checkpoints, `summary`,
    `decouple` and `observe`. Outputs, gradients and running averages keep their bits. `fit` and `evaluate` fuse
    a model by themselves; your own training loop begins with `fused = fuse(model)`.

    Parameters
    ----------
    model : Module
        It stays unchanged.

    Returns
    -------
    Module
        A Sequential or Residual of the same layers, with a `BatchNormQuantize` for every pair; the model itself
        if there is no pair. A module with its own `forward` stays unchanged, with all layers inside: only the
        module knows what it runs. Subclasses of the two layers that override the computation stay, too.

    Raises
    ------
    TypeError
        If `model` is not a Module.

    Examples
    --------
    >>> from duonet import nn
    >>> from duonet.quant import Binary, Clip
    >>> model = nn.Sequential({"norm": nn.BatchNorm(2), "act": nn.QuantActivation(Binary(), Clip(0, 1))})
    >>> fuse(model)
    fuse: norm and act
    Sequential()
      norm: BatchNormQuantize()
        norm: BatchNorm(2)
        activation: QuantActivation(Binary(), Clip(low=0, high=1, closed=False))
    """
    arguments.instance("fuse", "model", model, Module)
    new, pairs = fused(model)
    said = [f"{norm} and {activation}" for norm, activation in pairs]
    print("fuse:", ", ".join(said) or NOTHING)
    return new


def fused(model: Module) -> tuple[Module, list[tuple[str, str]]]:
    """Do what `fuse` does, and print nothing.

    Parameters
    ----------
    model : Module

    Returns
    -------
    model : Module
    pairs : list of (str, str)
        The paths of each fused pair.

    Examples
    --------
    >>> fused(Sequential())
    (Sequential(), [])
    """
    pairs: list[tuple[str, str]] = []
    return _fused(model, "", pairs, {}), pairs


def _fused(model, path, pairs, met):
    """Return the fused form of a model, or itself; `pairs` gains the fused pairs, `met` holds finished modules."""
    if id(model) not in met:
        form = {Sequential: _sequential, Residual: _residual}.get(kind(model))
        met[id(model)] = form(model, path, pairs, met) if form else model
    return met[id(model)]


def _sequential(model, path, pairs, met):
    if type(model).__iter__ is not Sequential.__iter__:
        return model
    new, waiting = Sequential(), list(model.children())[::-1]
    same = True
    while waiting:
        name, layer = waiting.pop()
        if waiting and _is(layer, BatchNorm) and _is(waiting[-1][1], QuantActivation):
            behind, activation = waiting.pop()
            pairs.append((join(path, name), join(path, behind)))
            form = in_mode_of(layer, BatchNormQuantize(layer, activation))
        else:
            form = _fused(layer, join(path, name), pairs, met)
        same &= form is layer
        setattr(new, name, form)
    return model if same else _instead_of(model, new)


def _residual(model, path, pairs, met):
    body, shortcut = (
        layer and _fused(layer, join(path, name), pairs, met)
        for name, layer in (("body", model.body), ("shortcut", model.shortcut))
    )
    same = body is model.body and shortcut is model.shortcut
    return model if same else _instead_of(model, Residual(body, shortcut))


def _is(layer, cls):
    return kind(layer) is cls and cls.forward is FUSED[cls]


def _instead_of(model, new):
    """Let the observers of an old container see the new container."""
    new._observers = model._observers
    return in_mode_of(model, new)
