"""Schedules of the learning rate and of other numbers that depend on time."""

import math
from collections.abc import Iterable

import numpy as np

from duonet import arguments


class Schedule:
    """Base of the schedules: from time in epochs to a factor on the learning rate, or another number. No state.

    Examples
    --------
    >>> class Halves(Schedule):
    ...     def __call__(self, epochs):
    ...         return 0.5**epochs
    >>> Halves()(2)
    0.25
    """

    def __call__(self, epochs: float) -> float:
        """Return the factor, or the number, at this time."""
        raise NotImplementedError


def time_of(owner: str, epochs: float) -> float:
    """Return the time in epochs that an owner's `before_step` received; infinity is the end of all training.

    Raises
    ------
    TypeError, ValueError
        If the time is not a number or is negative.

    Examples
    --------
    >>> time_of("StochasticBinary", "now")
    Traceback (most recent call last):
        ...
    TypeError: StochasticBinary: epochs must be a number, got str
    """
    return arguments.fitting(owner, "epochs", epochs, np.dtype(np.float64))


def schedule_or_none(owner: str, schedule: Schedule | None) -> Schedule | None:
    """Return the argument `schedule` of an owner, or raise TypeError if it is neither a Schedule nor None.

    Examples
    --------
    >>> schedule_or_none("StochasticBinary", None)
    """
    return None if schedule is None else arguments.instance(owner, "schedule", schedule, Schedule)


class Constant(Schedule):
    """Keep the learning rate constant: a factor of 1.

    Examples
    --------
    >>> Constant()(7.5)
    1.0
    """

    def __call__(self, epochs: float) -> float:
        """Return 1."""
        return 1.0


class StepDecay(Schedule):
    """Multiply the learning rate by `factor` at each milestone.

    Parameters
    ----------
    milestones : sequence of number
        Times in epochs.
    factor : float

    Raises
    ------
    TypeError, ValueError
        If a milestone or the factor is not a finite number, or is negative.

    Examples
    --------
    >>> [StepDecay([10, 20])(t) for t in (9.9, 10, 20)]
    [1.0, 0.1, 0.010000000000000002]
    """

    def __init__(self, milestones: Iterable[float], factor: float = 0.1):
        self.milestones = tuple(
            arguments.number("StepDecay", f"milestones[{i}]", m, at_least=0) for i, m in enumerate(milestones)
        )
        self.factor = float(arguments.number("StepDecay", "factor", factor, at_least=0))

    def __call__(self, epochs: float) -> float:
        """Return factor ^ (number of milestones in the past)."""
        return self.factor ** sum(epochs >= m for m in self.milestones)


class Cosine(Schedule):
    """Fall from 1 to 0 along half a cosine: ½ (1 + cos(π t / total)).

    Parameters
    ----------
    total : number
        Epochs until 0.

    Raises
    ------
    TypeError, ValueError
        If `total` is not a finite number above 0.

    References
    ----------
    Loshchilov, Hutter: SGDR, ICLR 2017, eq. 5, without restarts.

    Examples
    --------
    >>> [round(Cosine(10)(t), 3) for t in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, total: float):
        self.total = arguments.number("Cosine", "total", total, above=0)

    def __call__(self, epochs: float) -> float:
        """Return ½ (1 + cos(π t / total)), and 0 after `total`."""
        return 0.5 * (1 + math.cos(math.pi * min(epochs / self.total, 1)))


class Ramp(Schedule):
    """Move from one number to another along a straight line, and stay there: s + (e − s) min(t / total, 1).

    Parameters
    ----------
    start, end : number
        s, e.
    total : number
        Epochs until `end`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a finite number, or `total` is not above 0.

    Examples
    --------
    >>> [Ramp(1, 5, 100)(t) for t in (0, 50, 100, 1000)]
    [1.0, 3.0, 5.0, 5.0]
    """

    def __init__(self, start: float, end: float, total: float):
        self.start = arguments.number("Ramp", "start", start)
        self.end = arguments.number("Ramp", "end", end)
        self.total = arguments.number("Ramp", "total", total, above=0)

    def __call__(self, epochs: float) -> float:
        """Return the number at this time."""
        share = min(epochs / self.total, 1.0)
        return self.start * (1 - share) + self.end * share


class Stages(Schedule):
    """Take one value after the other: values[k] once k of the times have passed.

    Parameters
    ----------
    values : sequence of number
    times : sequence of number
        Rising times in epochs, one fewer than values.

    Raises
    ------
    TypeError, ValueError
        If a value or time is not a finite number, the times do not rise, or their number is wrong.

    Examples
    --------
    >>> [Stages([5, 4, 2], [10, 20])(t) for t in (0, 10, 19.9, 20)]
    [5, 4, 4, 2]
    """

    def __init__(self, values: Iterable[float], times: Iterable[float]):
        self.values = tuple(arguments.number("Stages", f"values[{i}]", v) for i, v in enumerate(values))
        self.times = tuple(arguments.number("Stages", f"times[{i}]", t, at_least=0) for i, t in enumerate(times))
        if len(self.values) != len(self.times) + 1 or list(self.times) != sorted({*self.times}):
            raise ValueError(
                f"Stages: expected rising times, one fewer than values, got {self.times} and {self.values}"
            )

    def __call__(self, epochs: float) -> float:
        """Return the number of the stage."""
        return self.values[sum(epochs >= t for t in self.times)]
