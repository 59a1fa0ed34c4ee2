"""The optimisers' updates, one launch each, on the flat vector of all parameters.

They round like the formulas of `duonet.optim`: the same bits as on the CPU, except numbers below 1.2e-38.
"""

from duonet import engine
from duonet import optim as plain
from duonet.backend import Array
from duonet.gpu import kernels


@engine.twin("gpu")
class SGD(plain.SGD):
    """The plain rule in one kernel."""

    suits = staticmethod(kernels.suit)

    def _update(self, w, g, velocity, *, steps):
        rates = {"lr": self.lr, "momentum": self.momentum, "nesterov": self.nesterov}
        sgd(w, g, velocity, weight_decay=self.weight_decay, **rates)


@engine.twin("gpu")
class Adam(plain.Adam):
    """The plain rule in one kernel."""

    suits = staticmethod(kernels.suit)

    def _update(self, w, g, mean, square, *, steps):
        adam(w, g, mean, square, steps=steps, **_rates(self))


@engine.twin("gpu")
class AdamW(plain.AdamW):
    """The plain rule in one kernel."""

    suits = staticmethod(kernels.suit)

    def _update(self, w, g, mean, square, *, steps):
        adamw(w, g, mean, square, steps=steps, **_rates(self))


def _rates(optimizer):
    return {name: getattr(optimizer, name) for name in ("lr", "betas", "eps", "weight_decay")}


def sgd(
    w: Array, g: Array, velocity: Array, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """Update `w` and `velocity` in place: v ← μ v + g, w ← w − lr v, or with Nesterov w ← w − lr (g + μ v).

    Parameters
    ----------
    w, g, velocity : array
        Contiguous, of one shape and dtype; g is the gradient before weight decay.
    lr, momentum : float
    nesterov : bool
    weight_decay : float
    """
    numbers = (float(lr), float(momentum), int(nesterov), float(weight_decay))
    kernels.launch("optim", "sgd", w.dtype, kernels.blocks(w.size), w, g, velocity, w.size, *numbers)


def adam(
    w: Array,
    g: Array,
    mean: Array,
    square: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    steps: int,
) -> None:
    """Update `w`, `mean` and `square` in place by Adam; weight_decay · w is added to the gradient.

    Parameters
    ----------
    w, g, mean, square : array
        Contiguous, of one shape and dtype.
    lr : float
    betas : (float, float)
    eps, weight_decay : float
    steps : int
        Updates so far, with this update.
    """
    _adam(w, g, mean, square, lr, betas, eps, steps, weight_decay, 1)


def adamw(
    w: Array,
    g: Array,
    mean: Array,
    square: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    steps: int,
) -> None:
    """Update `w`, `mean` and `square` in place by AdamW; `w` is first scaled by 1 − lr · weight_decay.

    Parameters
    ----------
    w, g, mean, square : array
        Contiguous, of one shape and dtype.
    lr : float
    betas : (float, float)
    eps, weight_decay : float
    steps : int
        Updates so far, with this update.
    """
    _adam(w, g, mean, square, lr, betas, eps, steps, 0, 1 - lr * weight_decay)


def _adam(w, g, mean, square, lr, betas, eps, steps, weight_decay, shrink):
    beta1, beta2 = betas
    numbers = (
        beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**steps), 1 - beta2**steps, eps, weight_decay, shrink,
    )  # fmt: skip
    arrays = (w, g, mean, square)
    kernels.launch("optim", "adam", w.dtype, kernels.blocks(w.size), *arrays, w.size, *map(float, numbers))
