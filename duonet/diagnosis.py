"""The source of numbers that are not finite: the input, a label, the loss, a layer or a parameter."""

from typing import Any

import numpy as np

from duonet import backend
from duonet.backend import Array
from duonet.module import Module
from duonet.nn import BatchNorm
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.totals import Totals, as_array
from duonet.watching import observe

CURE = "A smaller learning rate is the usual cure"
HOLDS = "holds NaN or infinity"


class TrainingDiverged(ArithmeticError):
    """The loss or a parameter became infinite or NaN; the message says when and in which layer."""


def check_input(totals: Totals, x: Array, epoch: int, step: int) -> None:
    """Refuse infinite or NaN inputs before they spoil the weights, and a later error blames the learning rate."""
    if bool(totals.finite):
        return
    raise ValueError(f"fit: the input is not finite: {_which('image', x, step)} in epoch {epoch + 1} {HOLDS}")


def _which(what, x, step):
    whole = backend.get_xp(x).isfinite(x).reshape(len(x), -1).all(axis=1)
    return (
        f"an earlier {what} than those of step {step + 1}"
        if whole.all()
        else f"{what} {whole.argmin()} of step {step + 1}"
    )


def check_loss(totals: Totals, model: Module, x: Tensor, labels: Any, epoch: int, step: int, first: bool) -> None:
    """If the loss is not finite, raise an error with the first place of a non-finite number.

    Parameters
    ----------
    totals : Totals
    model : Module
    x : Tensor
    labels : Tensor, array or list
    epoch, step : int
        From 0.
    first : bool
        Whether no step has been made yet.

    Raises
    ------
    ValueError
        If a label is not finite, although the model's output is.
    TrainingDiverged
        If anything else made the loss infinite or NaN.
    """
    if np.isfinite(float(totals.loss)):
        return
    if totals.spoilt:
        where = _which("label", as_array(labels), step)
        raise ValueError(f"fit: the labels are not finite: {where} in epoch {epoch + 1} {HOLDS}")
    where = first_not_finite(model)
    if where is None:
        with no_grad(), observe(model) as records:
            model(x)
        path = next((path for path, r in records.items() if path and not all_finite(r.output)), None)
        where = "no layer's output: they arise in the loss" if path is None else f"the output of {path}"
    cause = "No step has been made yet, so it is not the learning rate" if first else CURE
    raise TrainingDiverged(
        f"fit: the loss is not finite in epoch {epoch + 1}, step {step + 1}; the first non-finite numbers are in "
        f"{where}. {cause}"
    )


def check_parameters(model: Module, epoch: int) -> None:
    """Raise if the model is not finite: a staircase turns NaN into a level, so the loss may never show it."""
    if (where := first_not_finite(model)) is not None:
        raise TrainingDiverged(f"fit: {where} is not finite after epoch {epoch + 1}. {CURE}")


def first_not_finite(model: Module) -> str | None:
    """Name the first parameter or running average that holds NaN or infinity.

    Parameters
    ----------
    model : Module

    Returns
    -------
    str or None

    Examples
    --------
    >>> first_not_finite(BatchNorm(2))
    """
    numbers: list[tuple[str, Tensor]] = [(f"parameter {path}", p) for path, p in model.named_parameters()]
    for path, layer in model.modules():
        if isinstance(layer, BatchNorm):
            pair = ("running_mean", layer.running_mean), ("running_var", layer.running_var)
            numbers += [(f"running average {path}.{name}", average) for name, average in pair]
    return next((name for name, tensor in numbers if not all_finite(tensor.data)), None)


def all_finite(array: Array) -> bool:
    """Return whether an array holds neither NaN nor infinity.

    Parameters
    ----------
    array : array

    Returns
    -------
    bool

    Examples
    --------
    >>> all_finite(BatchNorm(2).gamma.data)
    True
    """
    return bool(backend.get_xp(array).isfinite(array).all())
