"""Quantisers of activations as tables of steps, even quantisers that are staircases in evaluation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import methods
from duonet.coupling import kind
from duonet.methods.fixed_point import STEPS
from duonet.quant import FoldedStaircase, Quantizer, Staircase, Surrogate
from duonet.tensor import Parameter

MOST = 256  # levels: each takes an operator or two


class Table(NamedTuple):
    """A staircase: level k from thresholds[k − 1] on. A threshold is a number, or a number for each channel.

    Attributes
    ----------
    thresholds, levels : sequence
    falls : numpy.ndarray or None
        Channels in which x must lie below a threshold instead.
    surrogate : Surrogate or None
        The surrogate whose derivative is the gradient.
    why : str
        Why the table is for inference only; "" if it is not.
    """

    thresholds: Sequence[Any]
    levels: Sequence[Any]
    falls: npt.NDArray[np.bool_] | None = None
    surrogate: Surrogate | None = None
    why: str = "its learned numbers are fixed at their present values"


def table(layer: Quantizer) -> Table | None:
    """Return the steps of a quantiser in evaluation mode; None if they are unknown.

    Parameters
    ----------
    layer : Quantizer

    Returns
    -------
    Table or None

    Raises
    ------
    ValueError
        If its staircase computes something of its own, or has more than 256 levels.

    Examples
    --------
    >>> table(methods.FixedPointActivations(1)).levels
    [-0.7979, 0.7979]
    """
    found = EVALUATED[kind(layer)](layer) if kind(layer) in EVALUATED else _fixed(layer)
    if found is not None and len(found.levels) > MOST:
        raise ValueError(f"it has {len(found.levels)} levels, more than {MOST}")
    return found


def _fixed(layer: Any) -> Table | None:
    fixed = layer.known("fixed")
    if not fixed:
        return None
    activation = fixed()
    staircase, cls = activation.staircase, type(activation.staircase)
    known = cls is FoldedStaircase or cls._reached is Staircase._reached
    if cls.__call__ is not Staircase.__call__ or not known:
        raise ValueError(f"its staircase {cls.__name__} computes something of its own")
    falls = np.asarray(getattr(staircase, "falls", False))
    learned = activation is not layer or any(isinstance(value, Parameter) for value in vars(layer).values())
    return Table(
        staircase.thresholds, staircase.levels, falls if falls.any() else None, activation.surrogate,
        Table._field_defaults["why"] if learned else "",
    )  # fmt: skip


def _bases(layer: Any) -> Table:
    """Sum signs with a scale each, in the order in which the layer sums them."""
    shifts, scales = layer.shifts.numpy().ravel(), layer.heights.numpy().ravel()
    thresholds = np.float32(0.5) - shifts
    edges = np.unique(thresholds)
    levels = [
        sum(np.where(thresholds <= x, scale, -scale)[j] for j, scale in enumerate(scales))
        for x in (-np.inf, *edges)
    ]
    return Table(list(edges), levels)


def _grid(layer: Any) -> Table:
    """Round to multiples of 2^(1 − grid) from 0 on; a number half way between two goes to the even multiple."""
    step, numbers = np.float32(2.0 ** (1 - layer.grid)), range(1, 2 ** (layer.grid - 1))
    ties = [(k - np.float32(0.5)) * step for k in numbers]
    return Table(
        [tie if k % 2 == 0 else np.nextafter(tie, np.float32(np.inf)) for k, tie in zip(numbers, ties)],
        [k * step for k in (0, *numbers)],
    )


def _symmetric(layer: Any) -> Table:
    """Lay even steps around 0, of the width that the layer has found."""
    step, half = STEPS[layer.density][layer.bits - 1] * float(layer.spread.numpy()), 2 ** (layer.bits - 1)
    return Table([k * step for k in range(1 - half, half)], [(k + 0.5) * step for k in range(-half, half)])


EVALUATED: dict[type, Callable[[Any], Table]] = {
    methods.ABCNet: _bases,
    methods.ContinuousBinary: lambda layer: Table([0.0], [0.0, max(layer.alpha.numpy().item(), 2.0**-10)]),
    methods.FixedPointActivations: _symmetric,
    methods.WAGEActivation: _grid,
}
