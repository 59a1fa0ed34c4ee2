"""Numerical gradients, and checks of an op's backward pass against them.

Everything is float64: a central difference in float32 has no correct digits left to compare.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from duonet import backend
from duonet.backend import Array
from duonet.tape import Node, no_grad, smooth_forward, topological_order
from duonet.tensor import Tensor

STEP = 1e-5


class GradientError(AssertionError):
    """A gradient that differs from its numerical value, or a check that could not have failed."""


class NonDifferentiablePoint(GradientError):
    """An input where left and right slopes differ, so that there is no gradient to compare with."""


class SurrogateGradient(GradientError):
    """An op whose backward pass is deliberately not the derivative of its forward pass."""


def numerical_gradient(
    function: Callable[..., Tensor], *inputs: Array, dy: Array | None = None, step: float = STEP
) -> list[Array]:
    """Compute gradients by central differences, one coordinate at a time.

    dx_i = Σ dy · [f(x + h e_i) − f(x − h e_i)] / (2h)

    Parameters
    ----------
    function : callable
        From Tensors to a Tensor.
    *inputs : array
        float64.
    dy : array, optional
        Gradient of the loss with respect to the output; ones by default.
    step : float
        h.

    Returns
    -------
    list of numpy.ndarray
        One gradient for each input, of the input's shape.

    Raises
    ------
    TypeError
        If an input is not a float64 array.

    Examples
    --------
    >>> numerical_gradient(lambda x: x * x, np.array([1.0, 3.0]))[0].round(6)
    array([2., 6.])
    """
    inputs = _float64("numerical_gradient", inputs)
    loss = _loss_of(function, dy)
    gradients = []
    for i, x in enumerate(inputs):
        gradient = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            right, left = (loss(_moved(inputs, i, _unit(x, index), h)) for h in (step, -step))
            gradient[index] = (right - left) / (2 * step)
        gradients.append(gradient)
    return gradients


def check_gradients(
    function: Callable[..., Tensor],
    *inputs: Array,
    against: str | None = None,
    seed: int = 0,
    step: float = STEP,
    rtol: float = 1e-6,
    directions: int = 2,
) -> None:
    """Check the backward pass of `function` at `inputs`, or raise an error with the numbers that disagree.

    The upstream gradient is random, so an op that ignores it is caught. For each input, the slope along random
    unit directions, [L(x + hv) − L(x − hv)] / (2h), must equal gradient · v. If they differ, the error contains a
    table that compares every coordinate.

    Parameters
    ----------
    function : callable
        From Tensors to one Tensor; deterministic.
    *inputs : array
        float64, away from kinks.
    against : {None, "surrogate"}
        A function with quantised activations has a backward pass that is *not* its derivative, and is refused
        unless `against` is "surrogate": the surrogates then replace the staircases in the forward pass as well.
    seed : int
        Draws the upstream gradient and the directions; printed with every failure.
    step : float
        h.
    rtol : float
        Largest relative difference that passes.
    directions : int
        Random directions for each input.

    Raises
    ------
    TypeError
        If an input is not a float64 array.
    ValueError
        If `against` is not one of its two values.
    SurrogateGradient
        If the function contains a surrogate gradient and `against` is None.
    NonDifferentiablePoint
        If an input lies at a kink; the message names its index.
    GradientError
        If gradients disagree, if both are all zero (a check that cannot fail), or if an input was modified.

    Examples
    --------
    >>> check_gradients(lambda x, w: (x @ w).exp(), np.ones((2, 3)), np.full((3, 2), 0.1))
    >>> check_gradients(lambda x: x * 2, np.ones(3, "float32"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    TypeError: check_gradients: input 0 must be a float64 array, got float32; ...
    """
    if against not in (None, "surrogate"):
        raise ValueError(f"check_gradients: against must be None or 'surrogate', got {against!r}")
    inputs = _float64("check_gradients", inputs)
    with smooth_forward() if against else contextlib.nullcontext():
        _check(function, inputs, seed, step, rtol, directions, smooth=bool(against))


def check_surrogate(
    surrogate: Any,
    low: float = -3.0,
    high: float = 3.0,
    points: int = 200,
    seed: int = 0,
    step: float = STEP,
    rtol: float = 1e-6,
) -> None:
    """Check that a surrogate's `derivative` is the derivative of its `value`, at random points.

    Parameters
    ----------
    surrogate : Surrogate
    low, high : float
        Points are drawn uniformly between these bounds.
    points : int
    seed : int
    step : float
        Step of the central difference; points closer than this to a kink are left out.
    rtol : float
        Largest difference, relative to the largest slope, that passes.

    Raises
    ------
    GradientError
        If slopes disagree, if the derivative is zero at every point, or if over a tenth of the points are kinks.

    Examples
    --------
    >>> from duonet.quant import Clip
    >>> check_surrogate(Clip(-1, 1))
    """
    x = np.random.default_rng(seed).uniform(low, high, points)
    derivative = np.asarray(surrogate.derivative(x), dtype=np.float64)
    if not derivative.any():
        raise GradientError(f"check_surrogate: {surrogate} has derivative 0 at all {points} points (seed={seed})")
    right = (surrogate.value(x + step) - surrogate.value(x)) / step
    left = (surrogate.value(x) - surrogate.value(x - step)) / step
    scale = np.abs(derivative).max()
    smooth = np.abs(right - left) <= 1e-2 * scale  # curvature gives about step times the second derivative
    if smooth.mean() < 0.9:
        raise GradientError(f"check_surrogate: {surrogate} has kinks at {(~smooth).sum()} of {points} points")
    wrong = smooth & (np.abs((left + right) / 2 - derivative) > rtol * scale + 1e-9)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise GradientError(
            f"check_surrogate: {surrogate} at x = {x[i]:.6g} has derivative {derivative[i]:.9g}, but its value "
            f"rises by {(left[i] + right[i]) / 2:.9g}; {wrong.sum()} of {points} points differ (seed={seed})"
        )


def _check(function, inputs, seed, step, rtol, directions, smooth):
    rng, before = np.random.default_rng(seed), [x.copy() for x in inputs]
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    y = function(*tensors)
    _refuse_modified(inputs, before)
    if not isinstance(y, Tensor) or not y.requires_grad:
        raise GradientError("check_gradients: the result does not depend on the inputs through the tape")
    if not smooth:
        _refuse_surrogates(y)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    gradients = [np.zeros_like(x) if t.grad is None else t.grad for t, x in zip(tensors, inputs)]
    loss = _loss_of(function, dy)
    at_inputs = loss(inputs)
    for i, (x, gradient) in enumerate(zip(inputs, gradients)):
        numerical_is_zero = True
        for _ in range(directions):
            v = rng.standard_normal(x.shape)
            v /= np.sqrt((v * v).sum())
            right = (loss(_moved(inputs, i, v, step)) - at_inputs) / step
            left = (at_inputs - loss(_moved(inputs, i, v, -step))) / step
            numerical, analytic = (right + left) / 2, float((gradient * v).sum())
            numerical_is_zero &= abs(numerical) <= _tolerance(at_inputs, 0, 0, step)
            kinked = abs(right - left) > 1e-2 * max(abs(right), abs(left), 1e-3 * np.abs(gradient).max())
            wrong = not abs(numerical - analytic) <= _tolerance(at_inputs, numerical, rtol, step)
            if kinked or wrong:
                _refuse_kinks(loss, inputs, i, step)
            if wrong:
                raise GradientError(
                    f"check_gradients: input {i} of shape {x.shape}: the slope along a random direction is "
                    f"{numerical:.9g}, but backward gives {analytic:.9g} (seed={seed})\n"
                    + _table(gradient, numerical_gradient(function, *inputs, dy=dy, step=step)[i])
                )
        if numerical_is_zero and not gradient.any():
            raise GradientError(
                f"check_gradients: input {i} of shape {x.shape} has gradient zero, and numerically zero as well: "
                f"this check cannot fail (seed={seed})"
            )
    _refuse_modified(inputs, before)


def _refuse_modified(inputs, before):
    for i, (x, original) in enumerate(zip(inputs, before)):
        if not np.array_equal(x, original):
            raise GradientError(f"check_gradients: the function modified its input {i} of shape {x.shape}")


def _tolerance(loss, slope, rtol, step):
    """Bound |difference| by `rtol`, but not below the error that rounding of the loss makes in the quotient."""
    rounding = 16 * np.finfo(np.float64).eps * max(abs(loss), 1.0) / step
    return rtol * abs(slope) + rounding


def _refuse_surrogates(y):
    """Raise if a function in the graph of `y` has a surrogate gradient."""
    for source in topological_order(y._node or y, "check_gradients"):
        if isinstance(source, Node) and not source.function.exact:
            raise SurrogateGradient(
                f"check_gradients: {source.function.name} has a surrogate gradient, which no numerical gradient "
                "of a staircase matches: that difference is the gradient mismatch. "
                "Check it with against='surrogate'"
            )


def _refuse_kinks(loss, inputs, i, step):
    """Raise if input `i` has a kink within `step` of a coordinate: slopes that differ at every step."""
    x, here = inputs[i], loss(inputs)
    for index in np.ndindex(x.shape):
        jumps = []
        for h in (step, step / 10):
            right = (loss(_moved(inputs, i, _unit(x, index), h)) - here) / h
            left = (here - loss(_moved(inputs, i, _unit(x, index), -h))) / h
            jumps.append(abs(right - left))
        # Where the function is smooth, the jump shrinks with h, down to rounding.
        if jumps[0] > 1e-3 * max(abs(right), abs(left), 1e-6) and jumps[1] > 0.5 * jumps[0]:
            raise NonDifferentiablePoint(
                f"check_gradients: input {i} has a kink at index {index}, where x = {x[index]:.6g}: the slope is "
                f"{left:.6g} on the left and {right:.6g} on the right; check away from kinks"
            )


def _table(analytic, numerical, rows=20):
    """Lay out both gradients coordinate by coordinate, the worst first."""
    error = np.abs(analytic - numerical)
    order = np.argsort(error, axis=None)[::-1][:rows]
    lines = [f"{'index':>16} {'backward':>16} {'numerical':>16} {'difference':>12}"]
    for flat in order:
        index = tuple(int(k) for k in np.unravel_index(flat, error.shape))
        lines.append(f"{index!s:>16} {analytic[index]:16.9g} {numerical[index]:16.9g} {error[index]:12.3g}")
    if error.size > rows:
        lines.append(f"... and {error.size - rows} coordinates that differ less")
    return "\n".join(lines)


def _loss_of(function, dy):
    """Make the scalar function L(inputs) = Σ dy · function(inputs) of raw arrays."""

    def loss(inputs):
        with no_grad():
            y = function(*[Tensor(x) for x in inputs]).data
        return float(y.sum() if dy is None else (dy * y).sum())

    return loss


def _moved(inputs, i, direction, h):
    return [x + h * direction if k == i else x for k, x in enumerate(inputs)]


def _unit(x, index):
    unit = np.zeros_like(x)
    unit[index] = 1
    return unit


def _float64(name, inputs):
    for i, x in enumerate(inputs):
        if backend.is_array(x) and backend.device_of(x) != "cpu":
            raise TypeError(f"{name}: input {i} must be a NumPy array, but it is on the gpu")
        if not isinstance(x, np.ndarray) or x.dtype != np.float64:
            got = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(
                f"{name}: input {i} must be a float64 array, got {got}; in float32 a difference quotient "
                "has no digits left to compare"
            )
    return inputs
