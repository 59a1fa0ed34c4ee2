"""Gradients of a quantised network's loss: by back-propagation, and two estimates for the smoothed loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend, parallel
from duonet.mismatch.chain import CannotServe
from duonet.mismatch.directions import DIRECTIONS, draw
from duonet.mismatch.fast import FastForm
from duonet.mismatch.general import GeneralForm, losses_around
from duonet.mismatch.objective import Objective, known_layers, sample_coordinates, weighted_layers
from duonet.module import Module
from duonet.tape import recording
from duonet.tensor import Tensor

FORMS = ("fast", "general")


class Estimate(NamedTuple):
    """A gradient with respect to the weights of one layer, or to some of them.

    Attributes
    ----------
    values : numpy.ndarray
        (K,), float64.
    coordinates : numpy.ndarray
        (K,): flat index of each value in the layer's weight.
    size : int
        The number of the layer's weights; K is smaller if only a sample was estimated.
    stderr : numpy.ndarray or None
        (K,): standard error of each value, where the estimate is random.
    evaluations : int
        The number of losses computed for the estimate.
    note : str
        Why the general form was used instead of the fast form, or why a coarse gradient is NaN; else "".

    Examples
    --------
    >>> estimate = Estimate(np.array([0.5, -1.0]), np.array([0, 3]), 4)
    >>> len(estimate.values), estimate.size, estimate.note
    (2, 4, '')
    """

    values: npt.NDArray[Any]
    coordinates: npt.NDArray[Any]
    size: int
    stderr: npt.NDArray[Any] | None = None
    evaluations: int = 0
    note: str = ""


@parallel.threads()
def coarse_gradient(
    model: Module, loss: Callable[..., Tensor], batch: tuple[Any, Any], layers: list[str] | None = None
) -> dict[str, Estimate]:
    """Back-propagate: the chain rule with the surrogate's derivative in place of the staircase's.

    For z = x W, y = staircase(z): dW = xᵀ (dy · surrogate'(z)). In general this is the gradient of no function.

    Parameters
    ----------
    model : Module
        In evaluation mode. A layer's weight may be frozen. The parameters keep the gradients that they hold.
    loss : callable
        (output, target) to a Tensor of one element.
    batch : tuple
        (x, target).
    layers : list of str, optional
        Paths of layers with weights; all by default.

    Returns
    -------
    dict
        From path to `Estimate`; NaN, with a note, for a weight that back-propagation does not reach.

    Raises
    ------
    ValueError
        If a layer is unknown; further as `Objective`.
    RuntimeError
        If `no_grad()` has switched the tape off.

    References
    ----------
    Bengio, Léonard, Courville 2013 (the straight-through estimator); Yin et al., ICLR 2019 (the name).

    Examples
    --------
    >>> from duonet import functional as F, nn
    >>> model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> batch = np.array([[1.0, 3.0]], "float32"), np.array([[2.0]], "float32")
    >>> model.weight.data[:] = 1.0
    >>> coarse_gradient(model, F.mse_loss, batch)[""].values  # 2 (4 − 2) x
    array([ 4., 12.])
    """
    if not recording():
        raise RuntimeError("coarse_gradient: back-propagation needs the tape, which no_grad() has switched off")
    objective = Objective(model, loss, batch)
    chosen = weighted_layers(model, layers)
    gradients = objective.gradients([layer.weight for layer in chosen.values()])
    return {
        path: Estimate(*_flat(gradient, layer.weight.size))
        for (path, layer), gradient in zip(chosen.items(), gradients)
    }


@parallel.threads()
def coordinate_gradient(
    model: Module,
    loss: Callable[..., Tensor],
    batch: tuple[Any, Any],
    step: float = 0.1,
    layers: list[str] | None = None,
    *,
    coordinates: int | dict[str, npt.NDArray[Any]] | None = None,
    rng: np.random.Generator | None = None,
    form: str = "fast",
    memory: float = 512,
) -> dict[str, Estimate]:
    """Estimate the coordinate discrete gradient g_i = [L(w + ε e_i) − L(w − ε e_i)] / (2ε).

    With ε not infinitesimal this is exactly the i-th derivative of the loss smoothed along that axis, the mean
    of L over the window [w_i − ε, w_i + ε]: ∂/∂w_i of (1/2ε) ∫ L(w + t e_i) dt from −ε to ε. Where L has a third
    derivative, g_i = ∂L/∂w_i + (ε²/6) ∂³L/∂w_i³ + O(ε⁴).

    Parameters
    ----------
    model : Module
        In evaluation mode.
    loss : callable
        (output, target) to a Tensor of one element.
    batch : tuple
        (x, target).
    step : float
        ε > 0, in units of the weights.
    layers : list of str, optional
        Paths of layers with weights; all by default.
    coordinates : int or dict, optional
        A number: estimate this many weights of each layer, drawn without replacement. A dict from path to flat
        indices, as from `sample_coordinates`: estimate these weights. By default, all weights.
    rng : numpy.random.Generator, optional
        Draws the weights; needed where `coordinates` is a number.
    form : {"fast", "general"}
        "general" runs the whole network twice for each weight. "fast" computes the same losses but runs only the
        changed part of the network, a chain of Linear, Conv2d, BatchNorm, pooling and activations; for other
        models "fast" falls back to the general form and says so in the estimate's `note`.
    memory : float
        Limit of the fast form's working memory, MiB, beyond that of one pass through the model.

    Returns
    -------
    dict
        From path to `Estimate`.

    Raises
    ------
    ValueError
        If `step` is not positive or lost in rounding, a layer is unknown, or the memory limit is too small for
        one coordinate; further as `Objective`.
    TypeError
        If an argument is not a number, or `coordinates` is a number and `rng` is missing.

    References
    ----------
    Kim et al., BinaryDuo, ICLR 2020.

    Examples
    --------
    >>> from duonet import functional as F, nn
    >>> from duonet.quant import Binary, Clip
    >>> step = nn.QuantActivation(Binary(), Clip(0, 1))
    >>> model = nn.Sequential(nn.Linear(1, 1, rng=np.random.default_rng(0)), step)
    >>> model[0].weight.data[:] = 0.45
    >>> batch = np.array([[1.0], [1.0]], "float32"), np.array([[0.0], [0.0]], "float32")
    >>> coordinate_gradient(model.eval(), F.mse_loss, batch, step=0.1)["0"].values  # the step lies in the window
    array([5.])
    """
    arguments.number("coordinate_gradient", "step", step, above=0)
    arguments.one_of("coordinate_gradient", "form", form, FORMS)
    arguments.number("coordinate_gradient", "memory", memory, above=0)
    objective, measured = Objective(model, loss, batch), weighted_layers(model, layers)
    if not isinstance(coordinates, dict):
        coordinates = sample_coordinates(model, coordinates, rng, list(measured))
    known_layers(model, "coordinates", coordinates)
    estimates = {}
    for path, layer in measured.items():
        size, chosen = layer.weight.size, _checked(coordinates, path, layer.weight.size)
        _refuse_lost("coordinate_gradient: step", step, path, layer.weight)
        note = ""
        solver: GeneralForm | FastForm = GeneralForm(objective, layer.weight)
        if form == "fast":
            try:
                solver = FastForm(objective, path, memory)
            except CannotServe as reason:
                note = f"general form: {reason}"
        losses = solver.losses(chosen, float(step))
        values = (losses[:, 0] - losses[:, 1]) / (2 * step)
        estimates[path] = Estimate(values, chosen, size, None, losses.size, note)
    return estimates


@parallel.threads()
def evolution_gradient(
    model: Module,
    loss: Callable[..., Tensor],
    batch: tuple[Any, Any],
    sigma: float = 0.1,
    layers: list[str] | None = None,
    *,
    samples: int = 256,
    directions: str = "gaussian",
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """Estimate the evolution-strategies gradient of each layer, ∇ E_u L(w + σu) with u ~ N(0, I).

    Antithetic form: g = (1/2Kσ) Σ_k [L(w + σ u_k) − L(w − σ u_k)] u_k over K directions in the layer's weights,
    whose expectation is exactly this gradient. A step of σ in all n weights of the layer is √n times longer
    than a step of σ in a single weight; `sigma` is therefore not comparable with `step`.

    Parameters
    ----------
    model : Module
        In evaluation mode. Its weights are always restored.
    loss : callable
        (output, target) to a Tensor of one element.
    batch : tuple
        (x, target).
    sigma : float
        σ > 0, in units of the weights.
    layers : list of str, optional
        Paths of layers with weights, moved one layer at a time; all by default.
    samples : int
        K >= 2 directions; each costs two losses.
    directions : {"gaussian", "orthogonal", "orthogonal-fixed", "hadamard"}
        "orthogonal" makes the directions orthogonal to each other, n at a time, with Gaussian lengths: the mean
        is the same and the variance lower. "orthogonal-fixed" gives each direction the length √n: the
        variance is lower still, and the mean is the gradient of L averaged over a ball of radius σ√n. "hadamard"
        takes rows of H D, with random signs D and the Hadamard matrix H of the next power of two, cut to n
        columns; a row costs O(n). Its mean is the coordinate discrete gradient of step σ, averaged over signs ±σ
        of all other weights.
    rng : numpy.random.Generator
        Draws the directions.

    Returns
    -------
    dict
        From path to `Estimate`, with the standard error of each value over the directions: s/√K, as if the
        directions were independent, and so too large for orthogonal directions.

    Raises
    ------
    ValueError
        If `sigma` is not positive or lost in rounding, `samples` is below 2, `directions` or a layer is unknown;
        further as `Objective`.
    TypeError
        If `sigma` is not a number, `samples` not an int, or `rng` not a generator.

    References
    ----------
    Salimans et al., 2017 (evolution strategies, antithetic form); Choromanski et al., Structured Evolution with
    Compact Architectures, ICML 2018 (orthogonal and Hadamard directions).

    Examples
    --------
    >>> from duonet import functional as F, nn
    >>> model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> batch = np.array([[1.0, 3.0]], "float32"), np.array([[2.0]], "float32")
    >>> model.weight.data[:] = 1.0
    >>> estimate = evolution_gradient(model, F.mse_loss, batch, samples=4000, rng=np.random.default_rng(0))[""]
    >>> bool((np.abs(estimate.values - [4, 12]) < 4 * estimate.stderr).all())
    True
    """
    arguments.number("evolution_gradient", "sigma", sigma, above=0)
    samples = arguments.integer("evolution_gradient", "samples", samples, at_least=2)
    arguments.one_of("evolution_gradient", "directions", directions, DIRECTIONS)
    arguments.generator("evolution_gradient", "rng", rng)
    objective = Objective(model, loss, batch)
    estimates = {}
    for path, layer in weighted_layers(model, layers).items():
        weight, size = layer.weight, layer.weight.size
        _refuse_lost("evolution_gradient: sigma", sigma, path, weight)
        total, squares = np.zeros(size), np.zeros(size)
        for direction in draw(rng, directions, samples, size):
            up, down = losses_around(objective, weight, sigma * direction.reshape(weight.shape))
            term = (up - down) / (2 * sigma) * direction
            total += term
            squares += term * term
        mean = total / samples
        stderr = np.sqrt(np.maximum(squares / samples - mean**2, 0) / (samples - 1))
        estimates[path] = Estimate(mean, np.arange(size), size, stderr, 2 * samples)
    return estimates


def _refuse_lost(name, step, path, weight):
    """Refuse a step so small that rounding leaves a weight unmoved: the difference would be 0."""
    w = abs(weight.data)
    with np.errstate(over="ignore"):
        small = w.dtype.type(step)
    if not np.isfinite(small) or bool((w + small == w).any()):
        raise ValueError(
            f"{name} {step} is lost beside weights of layer {path!r}, {w.dtype} up to {float(w.max()):.3g}"
        )


def _checked(coordinates, path, size):
    """Return the flat indices given for a layer, or raise ValueError if they are not indices of its weights."""
    flat = np.asarray(coordinates.get(path, ()))
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "iu" or flat.min() < 0 or flat.max() >= size:
        raise ValueError(
            f"coordinate_gradient: coordinates of layer {path!r} must be flat indices from 0 to {size - 1}, "
            f"got {repr(coordinates.get(path)):.60}"
        )
    return flat


def _flat(gradient, size):
    """Return the fields of an Estimate; a missing gradient is NaN, because it is not zero."""
    if gradient is None:
        return np.full(size, np.nan), np.arange(size), size, None, 0, "back-propagation does not reach it"
    return backend.to_device(gradient, "cpu").astype(np.float64).ravel(), np.arange(size), size
