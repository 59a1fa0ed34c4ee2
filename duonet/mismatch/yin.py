"""Ground truth: a two-layer network whose loss, gradient and coarse gradients are known in closed form.

f(w; Z) = ½ (vᵀσ(Zw) − v*ᵀσ(Zw*))², with σ(x) = 1[x >= 0], Z an (m, n) matrix of independent N(0, 1) entries, v and
v* in R^m, w and w* in R^n, |w*| = 1 (Yin et al., Understanding straight-through estimator, ICLR 2019). Everything
depends on w through its length and its angle θ to w*, because for one row z of Z, with ŵ = w / |w|:

    P(zᵀw > 0, zᵀw* > 0) = (π − θ) / 2π,    E[z 1[zᵀw > 0]] = ŵ / √2π,
    E[z 1[zᵀw > 0, zᵀw* > 0]] = (ŵ + w*) / (2 √2π).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, functional, nn
from duonet.backend import Array
from duonet.nn import Sequential
from duonet.quant import Binary
from duonet.quant import surrogate as surrogates
from duonet.tensor import Tensor

SURROGATES = {
    "identity": surrogates.Identity(),
    "relu": surrogates.ReLU(),
    "clip": surrogates.Clip(0, 1),
}  # surrogates with an expected coarse gradient in closed form

PARALLEL = 1e-14  # a smaller angle is rounding


def population_loss(
    v: npt.NDArray[Any], w: npt.NDArray[Any], v_star: npt.NDArray[Any], w_star: npt.NDArray[Any]
) -> float:
    """Compute E f = ⅛ [vᵀ(I + 11ᵀ)v − 2vᵀ((1 − 2θ/π)I + 11ᵀ)v* + v*ᵀ(I + 11ᵀ)v*].

    The code computes the equal ⅛ [|v − v*|² + (1ᵀ(v − v*))² + 4θ/π vᵀv*], because the terms above cancel near the
    minimum.

    Parameters
    ----------
    v, v_star : numpy.ndarray
        (m,)
    w, w_star : numpy.ndarray
        (n,)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If v and v*, or w and w*, differ in length, are not finite vectors, or w or w* is zero.

    Examples
    --------
    >>> population_loss(np.ones(2), np.array([2.0, 0.0]), np.ones(2), np.array([1.0, 0.0]))
    0.0
    """
    v, w, v_star, w_star = _checked("population_loss", v, w, v_star, w_star)
    apart = v - v_star
    return float((apart @ apart + apart.sum() ** 2 + 4 / math.pi * _angle(w, w_star) * (v @ v_star)) / 8)


def true_gradient(
    v: npt.NDArray[Any], w: npt.NDArray[Any], v_star: npt.NDArray[Any], w_star: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Compute ∂E f/∂w = −vᵀv* / (2π|w|) · Pw* / |Pw*|, with P = I − wwᵀ/|w|².

    From the loss: only θ depends on w, ∂E f/∂θ = vᵀv* / 2π, and ∂θ/∂w = −Pw* / (|w| |Pw*|).

    Parameters
    ----------
    v, v_star : numpy.ndarray
        (m,)
    w, w_star : numpy.ndarray
        (n,), not parallel.

    Returns
    -------
    numpy.ndarray
        (n,)

    Raises
    ------
    ValueError
        As `population_loss`, or if w and w* are parallel.

    Examples
    --------
    >>> one = np.array([1.0])
    >>> (true_gradient(one, np.array([1.0, 0.0]), one, np.array([0.0, 1.0])) * 2 * np.pi).round(6)
    array([-0., -1.])
    """
    v, w, v_star, w_star = _checked("true_gradient", v, w, v_star, w_star, apart=True)
    length = np.linalg.norm(w)
    return -(v @ v_star) / (2 * math.pi * length) * _across(w / length, w_star)


def expected_coarse_gradient(
    surrogate: str, v: npt.NDArray[Any], w: npt.NDArray[Any], v_star: npt.NDArray[Any], w_star: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Compute the expected coarse gradient E[Zᵀ(μ'(Zw) ∘ v) (vᵀσ(Zw) − v*ᵀσ(Zw*))] with surrogate μ.

    The rows of Z are independent, so only three expectations over one row z enter. With a = E[z μ'(zᵀw)],
    b = E[z μ'(zᵀw) σ(zᵀw)] and c = E[z μ'(zᵀw) σ(zᵀw*)], the expected gradient is

        |v|² b + ½((1ᵀv)² − |v|²) a − (vᵀv*) c − ½((1ᵀv)(1ᵀv*) − vᵀv*) a.

    With φ, Φ density and distribution of N(0, 1), B = 1/|w|, and ê the unit vector across ŵ towards w*:

    * identity: a = 0, b = ŵ φ(0), c = w* φ(0);
    * relu: a = b = ŵ φ(0), c = (ŵ + w*) φ(0) / 2;
    * clip, 1[0 < x < 1]: a = b = ŵ (φ(0) − φ(B)), and with q = φ(0) (Φ(B / sin θ) − ½),
      c = ŵ (φ(0)/2 − φ(B) Φ(B cot θ) + q cos θ) + ê q sin θ.

    Parameters
    ----------
    surrogate : {"identity", "relu", "clip"}
    v, v_star : numpy.ndarray
        (m,)
    w, w_star : numpy.ndarray
        (n,), not parallel.

    Returns
    -------
    numpy.ndarray
        (n,)

    Raises
    ------
    ValueError
        If `surrogate` is unknown; further as `true_gradient`.

    References
    ----------
    Yin et al., ICLR 2019; derived again here, for the clip without the remaining integrals of the paper.

    Examples
    --------
    >>> one = np.array([1.0])
    >>> expected_coarse_gradient("identity", one, np.array([1.0, 0.0]), one, np.array([0.0, 1.0])).round(4)
    array([ 0.3989, -0.3989])
    """
    arguments.one_of("expected_coarse_gradient", "surrogate", surrogate, SURROGATES)
    v, w, v_star, w_star = _checked("expected_coarse_gradient", v, w, v_star, w_star, apart=True)
    length = np.linalg.norm(w)
    along = w / length
    top = 1 / math.sqrt(2 * math.pi)  # φ(0)
    if surrogate == "identity":
        a, b, c = 0 * along, along * top, w_star * top
    elif surrogate == "relu":
        a = b = along * top
        c = (along + w_star) * top / 2
    else:
        theta, bound = _angle(w, w_star), 1 / length
        rise = -top * math.expm1(-(bound**2) / 2)  # φ(0) − φ(B), without the loss of digits for large |w|
        a = b = along * rise
        q = top * _within(bound / math.sin(theta))
        c = along * (rise / 2 - (top - rise) * _within(bound / math.tan(theta)) + q * math.cos(theta))
        c += _across(along, w_star) * q * math.sin(theta)
    total, total_star = v.sum(), v_star.sum()
    own = v @ v * b + (total**2 - v @ v) / 2 * a
    return own - v @ v_star * c - (total * total_star - v @ v_star) / 2 * a


def step_network(v: npt.NDArray[Any], w: npt.NDArray[Any], surrogate: str = "relu") -> Sequential:
    """Build vᵀσ(Zw) as a model: a 1×1 convolution over m pixels of n channels, the step, and a linear layer.

    Parameters
    ----------
    v : numpy.ndarray
        (m,)
    w : numpy.ndarray
        (n,)
    surrogate : {"identity", "relu", "clip"}

    Returns
    -------
    Sequential
        (N, m, 1, n) to (N, 1), float64, in evaluation mode; w is the weight of its layer "w".

    Raises
    ------
    ValueError
        If `surrogate` is unknown, or v or w is not a vector of finite numbers.

    Examples
    --------
    >>> from duonet import Tensor
    >>> model = step_network(np.array([1.0, 2.0]), np.array([1.0]))
    >>> model(Tensor(np.array([-1.0, 3.0]).reshape(1, 2, 1, 1))).item()
    2.0
    """
    arguments.one_of("step_network", "surrogate", surrogate, SURROGATES)
    (v,), (w,) = _finite("step_network", v=v), _finite("step_network", w=w)
    rng = np.random.default_rng(0)  # the weights are overwritten
    model = nn.Sequential(
        {
            "w": nn.Conv2d(len(w), 1, 1, rng=rng, bias=False),
            "step": nn.QuantActivation(Binary(0), SURROGATES[surrogate]),
            "flatten": nn.Flatten(),
            "v": nn.Linear(len(v), 1, rng=rng, bias=False),
        }
    ).astype(np.float64)
    model.w.weight.data[0, 0, :, 0] = w
    model.v.weight.data[:, 0] = v
    return model.eval()


def half_squared_error(output: Tensor, target: Tensor | Array) -> Tensor:
    """Compute ½ mean (output − target)², the loss of the two-layer network.

    Parameters
    ----------
    output, target : Tensor or array
        Of equal shape.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from duonet import Tensor
    >>> half_squared_error(Tensor([1.0, 3.0]), Tensor([0.0, 0.0])).item()
    2.5
    """
    return functional.mse_loss(output, target) * 0.5


def _checked(owner, v, w, v_star, w_star, apart=False):
    """Return the four vectors as float64; refuse vectors that do not fit and, if `apart`, parallel w and w*."""
    v, v_star = _finite(owner, v=v, v_star=v_star)
    w, w_star = _finite(owner, w=w, w_star=w_star)
    if not (w.any() and w_star.any()):
        raise ValueError(f"{owner}: w and w_star must not be zero, got w {w} and w_star {w_star}")
    if apart and not PARALLEL < _angle(w, w_star) < math.pi - PARALLEL:
        raise ValueError(f"{owner}: w and w_star must not be parallel, got w {w} and w_star {w_star}")
    return v, w, v_star, w_star


def _finite(owner, **vectors):
    """Return vectors of one length as float64."""
    arrays = [np.asarray(vector, np.float64) for vector in vectors.values()]
    for name, array in zip(vectors, arrays):
        if array.ndim != 1 or array.shape != arrays[0].shape or not len(array) or not np.isfinite(array).all():
            like = "" if array is arrays[0] else f" as long as {next(iter(vectors))} {arrays[0].shape}"
            raise ValueError(f"{owner}: {name} must be a vector of finite numbers{like}, got shape {array.shape}")
    return arrays


def _angle(w, w_star):
    """Return θ by the tangent of θ/2: near 0 and π, an arc cosine loses half of the digits."""
    a, b = (u / np.linalg.norm(u) for u in (w, w_star))
    return 2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b))


def _across(along, w_star):
    """Return the unit vector across ŵ towards w*."""
    across = w_star - along * (along @ w_star)
    across -= along * (along @ across)  # the part that rounding left
    return across / np.linalg.norm(across)


def _within(x):
    """Return Φ(x) − ½."""
    return math.erf(x / math.sqrt(2)) / 2
