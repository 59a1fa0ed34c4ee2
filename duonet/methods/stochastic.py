"""Neurons that fire at random, and estimators of the gradient behind their draws."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Quantizer
from duonet.schedule import Ramp, Schedule, schedule_or_none, time_of
from duonet.tensor import Function, Tensor

GRADIENTS = ("identity", "sigmoid")
ANNEALING = Ramp(1, 5, 100)  # min(5, 1 + 0.04 epoch)


class Fire(Function):
    """y = 1[u < σ(ηx)], or 1[x ≥ 0] without a generator.   dx = dy, or dy η σ'(ηx)."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, rng, slope, gradient):
        probability = _slope(ctx, x, slope, gradient)
        if rng is None:
            return (x >= 0).astype(x.dtype)
        # Drawn with NumPy and then uploaded: the same seed fires the same neurons on the CPU and on a GPU.
        draws = backend.get_xp(x).asarray(rng.random(x.shape, np.float32))
        return (draws < probability).astype(x.dtype)

    @staticmethod
    def smooth(ctx, x, *, rng, slope, gradient):
        probability = _slope(ctx, x, slope, gradient)
        return x.copy() if gradient == "identity" else probability

    @staticmethod
    def backward(ctx, dy):
        return dy if ctx.slope is None else exact.chain(dy, ctx.slope)


def _slope(ctx, x, slope, gradient):
    probability = sigmoid(x * x.dtype.type(slope))
    ctx.slope = None if gradient == "identity" else probability * (1 - probability) * x.dtype.type(slope)
    return probability


def sigmoid(x: Array) -> Array:
    """Return σ(x) = 1/(1 + e^−x), without overflow for numbers of any size.

    Parameters
    ----------
    x : array

    Returns
    -------
    array

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 2.0])).round(4)
    array([0.    , 0.5   , 0.8808])
    """
    xp = backend.get_xp(x)
    small = xp.exp(-abs(x))
    return xp.where(x >= 0, 1, small).astype(x.dtype) / (1 + small)


@listed(37, "stochastic-annealed", "activations", "Chung et al., 2016, on Bengio et al., 2013", schedule=ANNEALING)
@listed(37, "stochastic-identity", "activations", "Bengio et al., Stochastic Neurons, 2013", gradient="identity")
@listed(37, "stochastic-sigmoid", "activations", "Bengio et al., Stochastic Neurons, 2013", gradient="sigmoid")
class StochasticBinary(Quantizer):
    """Neurons that fire with probability σ(ηx): y = 1[u < σ(ηx)] in training, 1[x ≥ 0] in evaluation.

    A draw's derivative is replaced by that of the identity, dx = dy (the straight-through estimator), or of the
    probability, dx = dy η σ'(ηx). In slope annealing η follows time, so that the draws become a step.
    All three estimators are biased; `unbiased_gradient` is not, but needs the loss of every sample.

    Parameters
    ----------
    gradient : {"sigmoid", "identity"}
    slope : number
        η at the start, above 0; kept up to date, so that a checkpoint holds the present η.
    schedule : Schedule, optional
        From time in epochs to η; constant by default. The published schedule, min(5, 1 + 0.04 epoch), is
        `Ramp(1, 5, 100)`.
    rng : numpy.random.Generator

    References
    ----------
    Bengio, Léonard & Courville, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
    Computation, arXiv 1308.3432. Slope annealing: Chung et al., Hierarchical Multiscale Recurrent Neural Networks,
    2016.

    Examples
    --------
    >>> fire = StochasticBinary(rng=np.random.default_rng(0))
    >>> x = Tensor([-9.0, 0.0, 0.0, 9.0], requires_grad=True)
    >>> fire(x).data
    array([0., 0., 0., 1.], dtype=float32)
    >>> fire.eval()(x).data
    array([0., 1., 1., 1.], dtype=float32)
    """

    samplewise = by_channel = rising = True
    bits = 1
    deterministic = False
    in_training = "draws which neurons fire"

    def __init__(
        self,
        gradient: str = "sigmoid",
        slope: float = 1.0,
        schedule: Schedule | None = None,
        *,
        rng: np.random.Generator,
    ):
        super().__init__()
        self.gradient = arguments.one_of("StochasticBinary", "gradient", gradient, GRADIENTS)
        self.slope = arguments.number("StochasticBinary", "slope", slope, above=0)
        self.schedule = schedule_or_none("StochasticBinary", schedule)
        self.rng = arguments.generator("StochasticBinary", "rng", rng)

    def before_step(self, epochs: float) -> dict[str, float] | None:
        """Set η."""
        if self.schedule is None:
            return None
        epochs = time_of("StochasticBinary", epochs)
        self.slope = arguments.number("StochasticBinary", "slope", self.schedule(epochs), above=0)
        return {"slope": self.slope}

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape to 0 and 1; the shape stays."""
        rng = self.rng if self.training else None
        return Fire.apply(x, rng=rng, slope=self.slope, gradient=self.gradient)

    def _settings(self):
        return repr(self.gradient) + ("" if self.slope == 1 else f", slope={self.slope}")


class Baseline:
    """The number b of each unit that gives `unbiased_gradient` the least variance, from running averages.

    b = E[(h − σ)² L] / E[(h − σ)²], with the running average of the batches for each mean.

    Parameters
    ----------
    momentum : number
        Weight of a new batch.

    Examples
    --------
    >>> baseline = Baseline()
    >>> baseline.see(np.array([[0.0], [0.0]]), np.array([[1.0], [0.0]]), np.array([3.0, 1.0]))
    >>> baseline.values
    array([2.])
    """

    def __init__(self, momentum: float = 0.1):
        self.momentum = arguments.number("Baseline", "momentum", momentum, above=0, at_most=1)
        self._sums: Array | None = None

    @property
    def values(self) -> Array | float:
        """The number of each unit: 0 before the first batch, and for a unit that never varied."""
        if self._sums is None:
            return 0.0
        top, bottom = self._sums
        return top / backend.get_xp(bottom).where(bottom > 0, bottom, 1)

    def see(self, x: Array, h: Array, losses: Array) -> None:
        """Take in a batch: x and h (N, C), losses (N,). The gradient of the next batch may use it, not its own."""
        squares = _surprise("Baseline", x, h, losses) ** 2
        new = backend.get_xp(x).stack([(squares * losses[:, None]).mean(axis=0), squares.mean(axis=0)])
        self._sums = new if self._sums is None else (1 - self.momentum) * self._sums + self.momentum * new


def unbiased_gradient(x: Array, h: Array, losses: Array, baseline: Array | float = 0.0) -> Array:
    """Estimate the gradient of the expected loss of stochastic neurons from the loss of every sample.

    dx = (h − σ(x)) (L − b), for neurons that fire with probability σ(x). Its mean over the draws is ∂E[L]/∂x for
    any b that does not depend on the draw; `Baseline` has the b of least variance.

    Parameters
    ----------
    x : (N, C) array
    h : (N, C) array
        The draws, 0 or 1.
    losses : (N,) array
        The loss of every sample, not their mean.
    baseline : (C,) array or number
        b.

    Returns
    -------
    (N, C) array
        For each sample's own loss; divide by N for the mean loss.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> unbiased_gradient(np.zeros((2, 1)), np.array([[1.0], [0.0]]), np.array([3.0, 1.0]), baseline=2.0)
    array([[0.5],
           [0.5]])
    """
    return _surprise("unbiased_gradient", x, h, losses) * (losses[:, None] - baseline)


def _surprise(name, x, h, losses):
    for what, array in (("x", x), ("h", h), ("losses", losses)):
        arguments.array(name, what, array)
    if x.ndim != 2 or h.shape != x.shape or losses.shape != x.shape[:1]:
        raise ValueError(
            f"{name}: expected x and h (N, C) and losses (N,), got {x.shape}, {h.shape} and {losses.shape}"
        )
    return h - sigmoid(x)
